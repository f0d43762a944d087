"""What a trial's process does: run the trial, write its record. It knows no scheduler."""

import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch

from raysearch.backend.resources import Share
from raysearch.config import Options
from raysearch.data.dataset import Source, TrialData, open_data
from raysearch.errors import DataError, TrialError, UserError, named
from raysearch.storage import lock, write_text
from raysearch.study.context import StudyContext, failed
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record, State
from raysearch.training.distributed import broadcast, rank, world_size
from raysearch.training.network import check_network
from raysearch.training.outcome import Epoch
from raysearch.training.trial import run_trial


def run_worker_trial(
    context: StudyContext,
    proposal: Proposal,
    share: Share,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Runs a trial to its record, be it COMPLETE or FAIL, alone or as one of its workers.

    Args:
        context: what all trials share.
        proposal: the trial.
        share: what it holds.
        report: told of every epoch, and of the end; or, instead, of why no trial of the study can
            be trained.

    Raises:
        Exception: whatever is no fault of the trial, such as storage that does not answer; the
            trial may be taken up again.
    """
    study = StudyFolder(context.folder)
    if _has_ended(study, proposal):
        return
    try:
        _settle(share)
        if problem := _problem(context.options.model_dump_json()):
            report({"refused": problem})
            return
        record = _complete(context, proposal, share, report)
    except _PrunedError:
        return
    except Exception as error:
        _keep_traceback(context, proposal)
        if not isinstance(error, TrialError | UserError | torch.OutOfMemoryError):
            raise
        reason = named(error)
        if isinstance(error, torch.OutOfMemoryError):
            size = proposal.configuration.batch_size
            reason = f"out of GPU memory at batch size {size}: {reason}"
        study.add(failed(context, proposal, socket.gethostname(), reason, share.devices))
        if world_size() > 1:
            # The others may wait for this one: all are ended, and find the record when they are
            # started again.
            raise
        report({"state": str(State.FAIL), "val_score": None})
        return
    if rank() == 0:
        study.add(record)
    best = record.best
    report({"state": str(record.state), "val_score": best.val_score if best else None})


def _has_ended(study: StudyFolder, proposal: Proposal) -> bool:
    """Whether the trial has a record; its workers agree, so that none waits for one that left."""
    return broadcast(lambda: study.record(proposal.number) is not None)


class _PrunedError(Exception):
    """The trial got a record while its workers were training: it was given up.

    Workers end by themselves, all at the same epoch. If they were killed, Ray Train would start
    them again, or leave their placement group behind.
    """


def _settle(share: Share) -> None:
    """Takes up the CPUs and GPUs of a trial's share, and no others.

    Raises:
        RuntimeError: torch cannot use the GPU.
    """
    torch.set_num_threads(share.cpus)
    if not share.gpus:
        # Ray lets who holds none see all.
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
    study = StudyFolder(context.folder)

    told: list[Epoch] = []

    def report_epoch(epoch: Epoch) -> None:
        told.append(epoch)
        report({**asdict(epoch), "timesteps_total": epoch.epoch})
        if world_size() > 1 and _has_ended(study, proposal):
            raise _PrunedError

    config = context.config(proposal)
    inliers = (proposal.inlier,) if proposal.inlier else context.inliers
    folder = study.encoder(config.signature())
    data = _recordings(context, report)
    # A trial outlives a driver that was killed for a moment, in which the next has begun it anew.
    with lock(folder) if rank() == 0 else nullcontext():
        # A finalist is trained to its end.
        rungs = context.rungs if proposal.rerun_of is None else ()
        result = run_trial(config, data, inliers, report_epoch, folder, rungs)
    if proposal.inlier and not told:
        # The encoder of another trial, which was compared by another inlier model at its rungs.
        history = tuple(replace(epoch, val_score=None) for epoch in result.history)
        result = replace(result, history=history)
    host = socket.gethostname()
    return Record.completed(proposal, config, result, host=host, devices=share.devices)


@cache
def _problem(options: str) -> str:
    """What is wrong with the network that all trials train; empty if nothing."""
    try:
        check_network(Options.model_validate_json(options))
    except UserError as error:
        return str(error)
    return ""


_opened: dict[Source, TrialData] = {}
"""Recordings of the studies that this process has worked for: trials come one after another."""

_REPORT_EVERY = 5.0
"""Seconds between two reports of how many recordings were decoded."""


def _recordings(context: StudyContext, report: Callable[[dict[str, Any]], None]) -> TrialData:
    """Opens the recordings, which decodes them the first time a machine needs them.

    Raises:
        DataError: they cannot be used, or are not those that the search began with.
    """
    if context.source not in _opened:
        done, last = 0, time.monotonic()

        def on_clips(more: int) -> None:
            nonlocal done, last
            done += more
            # Workers of one trial must report in step.
            if world_size() == 1 and time.monotonic() - last > _REPORT_EVERY:
                last = time.monotonic()
                report({"clips_read": done})

        data = open_data(context.source, on_clips)
        _opened.clear()
        _opened[context.source] = data
    data = _opened[context.source]
    if data.fingerprint != context.fingerprint:
        raise DataError(f"{context.source.root} holds other recordings than the search began with")
    return data


def _keep_traceback(context: StudyContext, proposal: Proposal) -> None:
    folder = context.encoder(proposal)
    # A disk that is full must not hide what it did to the trial.
    with suppress(Exception):
        write_text(folder / "error.txt", traceback.format_exc())
