"""Process of a trial: runs the trial and writes its record, independent of the scheduler."""

import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch

from raysearch.backend.resources import Share
from raysearch.backend.trial_errors import is_of_trial
from raysearch.config import Options
from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import Source
from raysearch.errors import MachineError, TrialError, UserError, describe
from raysearch.storage import AnyPath, make_folder, write_text
from raysearch.study.context import StudyContext, failed_record
from raysearch.study.finalists import PROMOTED
from raysearch.study.folder import StudyFolder
from raysearch.study.locking import lock
from raysearch.study.records import Proposal, Record, State
from raysearch.study.reference import has_reference, write_reference
from raysearch.training.combined import combine_results, combine_rows
from raysearch.training.configuration import TrialConfig
from raysearch.training.distributed import broadcast, rank, world_size
from raysearch.training.network import check_network, processor
from raysearch.training.outcome import Epoch, TrialResult
from raysearch.training.reference import score_reference
from raysearch.training.state import damaged_checkpoint, drop_checkpoints
from raysearch.training.trial import run_trial
from raysearch.training.weights import check_files, file_hashes

RECORD_PAUSES = (1, 2, 5, 10, 20, 40, 60)
"""Pauses in s before a record is written again."""


def run_worker_trial(
    context: StudyContext,
    proposal: Proposal,
    share: Share,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Run a trial to its record, COMPLETE or FAIL, as its only process or as one of its workers.

    Args:
        context: of the study.
        proposal: of the trial.
        share: of the cluster that the trial holds.
        report: receives every epoch and the end, or else the reason why no trial of the study can
            be trained.

    Raises:
        Exception: a failure of machine or storage, see `is_of_trial`; the trial can resume.
    """
    study, begun = context.study, context.study.manifest.started
    if _has_ended(study, proposal):
        return
    try:
        _restrict_devices(share)
        if problem := _network_problem(context.config(proposal)):
            report({"refused": problem})
            return
        record = _complete(context, proposal, share, report)
    except _PrunedError:
        return
    except Exception as error:
        _save_traceback(context, proposal)
        if not is_of_trial(error, share):
            raise
        reason = describe(error)
        if isinstance(error, torch.OutOfMemoryError):
            size = proposal.configuration.batch_size
            reason = f"out of GPU memory at batch size {size}: {reason}"
        record = failed_record(context, proposal, socket.gethostname(), reason, share.devices)
        _add(study, record, begun)
        if world_size() > 1:
            # The other workers may wait for this process: all are ended, and find the record when
            # they restart.
            raise
        report({"state": str(State.FAIL), "val_score": None})
        return
    if rank() == 0:
        _add(study, record, begun)
    best = record.best
    report({"state": str(record.state), "val_score": best.val_score if best else None})


def _add(study: StudyFolder, record: Record, begun: str) -> None:
    """Write a record; a disk that is full or away may be there again before the result is lost.

    Args:
        study: of the trial.
        record: of the trial.
        begun: start of the study that proposed the trial; its successor has other trials.
    """
    for pause in (*RECORD_PAUSES, None):
        try:
            study.check_present()
            if study.manifest.started == begun:
                study.add(record)
        except (OSError, MachineError):
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


def _has_ended(study: StudyFolder, proposal: Proposal) -> bool:
    """Return True if the trial has a record. Collective: all workers get the same answer."""
    return broadcast(lambda: study.record(proposal.number) is not None)


class _PrunedError(Exception):
    """Pruning of the trial: it got a record while its workers were training.

    Workers end by themselves, all at the same epoch. If they were killed, Ray Train would restart
    them, or leave their placement group behind.
    """


def _restrict_devices(share: Share) -> None:
    """Restrict this process to the CPUs and GPUs of a trial's share.

    Raises:
        RuntimeError: torch cannot use the GPU.
    """
    torch.set_num_threads(share.cpus)
    if not share.gpus:
        # Ray shows all GPUs to a process that holds none.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        raise RuntimeError(
            f"torch {torch.__version__} cannot use the GPU of {socket.gethostname()}: its driver "
            "is missing or too old; see `nvidia-smi` there"
        )


def _complete(
    context: StudyContext,
    proposal: Proposal,
    share: Share,
    report: Callable[[dict[str, Any]], None],
) -> Record:
    study = context.study
    reported: list[Epoch] = []

    def report_epoch(epoch: Epoch) -> None:
        reported.append(epoch)
        report({**asdict(epoch), "timesteps_total": epoch.epoch})
        if world_size() > 1 and _has_ended(study, proposal):
            raise _PrunedError

    parts = [(part, _open_recordings(part, report)) for part in context.parts]
    results = {}
    for number, (part, data) in enumerate(parts):
        before = number * context.options.epochs

        def report_next(epoch: Epoch, before: int = before) -> None:
            report_epoch(replace(epoch, epoch=before + epoch.epoch))

        try:
            results[data.machine] = _train(part, proposal, data, report_next, report)
        except TrialError as error:
            if not context.machines:
                raise
            raise type(error)(f"{data.machine}: {error}") from error
    _score_reference(context, proposal, parts)
    result = combine_results(results) if context.machines else next(iter(results.values()))
    if proposal.inlier and not reported:
        # The encoder of another trial, whose rungs were scored by another inlier model.
        history = tuple(replace(epoch, val_score=None) for epoch in result.history)
        result = replace(result, history=history)
    if proposal.origin == PROMOTED and proposal.rerun_of is not None:
        # The record of the pruned trial has the time up to its rung.
        pruned = study.record(proposal.rerun_of)
        earlier = 0.0 if pruned is None else pruned.train_seconds
        result = replace(result, train_seconds=max(0.0, result.train_seconds - earlier))
    config, host = context.config(proposal), socket.gethostname()
    record = Record.completed(proposal, config, result, host=host, devices=share.devices)
    return replace(record, threads=torch.get_num_threads(), processor=processor())


def _score_reference(
    context: StudyContext, proposal: Proposal, parts: Sequence[tuple[StudyContext, TrialData]]
) -> None:
    """Score the reference of a study that has none; after the training, which it must not delay."""
    is_judged = bool(context.space.validation_ids)
    if is_judged and broadcast(lambda: not has_reference(context.folder)):
        rows = {d.machine: score_reference(part.config(proposal), d) for part, d in parts}
        row = combine_rows(rows) if context.machines else next(iter(rows.values()))
        if rank() == 0:
            write_reference(row, context.folder)


def _train(
    context: StudyContext,
    proposal: Proposal,
    data: TrialData,
    report: Callable[[Epoch], None],
    note: Callable[[dict[str, Any]], None],
) -> TrialResult:
    """Train and score the encoder of a machine type; one that is trained is only scored."""
    config = context.config(proposal)
    inliers = (proposal.inlier,) if proposal.inlier else context.inliers
    make_folder(folder := context.study.encoder(config.signature()), below=context.study.root)
    # A trial outlives a killed driver for a moment, in which the next driver may have restarted it.
    with lock(folder) if rank() == 0 else nullcontext():
        if damaged := broadcast(lambda: _drop_damaged(folder)):
            note({"note": f"{damaged} is damaged, so its training starts anew"})
        # A finalist is trained to its end.
        rungs = context.rungs if proposal.rerun_of is None else ()
        return run_trial(config, data, inliers, report, folder, rungs)


def _drop_damaged(folder: AnyPath) -> str:
    """Delete the checkpoints of a training if one is damaged; return its path, else ""."""
    if damaged := damaged_checkpoint(folder):
        drop_checkpoints(folder)
    return damaged


def _network_problem(config: TrialConfig) -> str:
    """Return why the network of all trials cannot be built; empty if it can."""
    try:
        now = file_hashes([config.options])
        check_files(config.files, now, "the search", "use --fresh to start anew")
    except UserError as error:
        return str(error)
    return _build_problem(config.options.model_dump_json())


@cache
def _build_problem(options: str) -> str:
    try:
        check_network(Options.model_validate_json(options))
    except UserError as error:
        return str(error)
    return ""


_opened: dict[Source, TrialData] = {}
"""Recordings of all studies of this process. Samples are mapped, and a list of 40,000 clips takes
30 MB; to list a data set anew takes seconds."""

_REPORT_EVERY = 5.0
"""Seconds between two reports of the number of decoded recordings."""


def _open_recordings(context: StudyContext, report: Callable[[dict[str, Any]], None]) -> TrialData:
    """Open the recordings; decode them the first time a machine needs them.

    Raises:
        MachineError: this machine does not have the recordings that the search began with. The
            run has checked them, so the mount is away, or a copy is incomplete.
    """
    if context.source not in _opened:
        decoded, last = 0, time.monotonic()

        def on_clips(count: int) -> None:
            nonlocal decoded, last
            decoded += count
            # Workers of one trial must report in step.
            if world_size() == 1 and time.monotonic() - last > _REPORT_EVERY:
                last = time.monotonic()
                report({"clips_read": decoded})

        try:
            _opened[context.source] = open_data(context.source, on_clips)
        except UserError as error:
            raise MachineError(str(error)) from error
    data = _opened[context.source]
    if data.fingerprint != context.fingerprint:
        # Read again at the next attempt.
        del _opened[context.source]
        raise MachineError(
            f"{context.source.root} holds other recordings than the search began with"
        )
    return data


def _save_traceback(context: StudyContext, proposal: Proposal) -> None:
    # A full disk must not hide the error of the trial.
    with suppress(Exception):
        folder = context.encoder(proposal)
        make_folder(folder, below=context.study.root)
        write_text(folder / "error.txt", traceback.format_exc())
