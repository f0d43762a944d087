"""Status of a study, read from its folder alone, during the search and afterwards."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from rich.console import Console
from upath import UPath

from raysearch.data.source import make_source
from raysearch.errors import UserError
from raysearch.report.live_table import Running, render_search
from raysearch.report.trials_file import trial_rows
from raysearch.report.wording import best_result, count, origin, settings, validation_score
from raysearch.search.trial_queue import TrialQueue, read_queue
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder, studies_at
from raysearch.study.ledger import read_ledger
from raysearch.study.locking import is_locked
from raysearch.study.manifest import Manifest
from raysearch.study.records import Proposal, Record
from raysearch.study.reference import NAME, reference_score
from raysearch.study.results import final_note
from raysearch.study.scores import FINAL, read_final
from raysearch.study.space import check_space
from raysearch.study.winner import Winner, read_frozen
from raysearch.training.outcome import Epoch

State = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class Status:
    """Status of a study at one moment.

    Attributes:
        queue: trials of the study, read-only.
        state: `running` while a process on this host, or on a host that shares the folder, holds
            its lock, `finished` once its winner is frozen, else `stopped`.
        started: first start of the study, in ISO 8601.
        winner: the frozen winner, if any.
        final_score: harmonic mean of the final test's AUCs and pAUCs.
        final_note: limits of this score; empty if there are none.
        reference: validation score of the reference; None until it is scored.
        open: proposed trials that have not ended, with their finished epochs.
    """

    queue: TrialQueue
    state: State
    started: str
    winner: Winner | None
    final_score: float | None
    final_note: str
    reference: float | None
    open: tuple[tuple[Proposal, tuple[Epoch, ...]], ...]


def read_statuses(folder: UPath) -> list[Status]:
    """Read the status of the study in a folder, or of all studies below it.

    Raises:
        UserError: there is no study, or a study is of another version.
    """
    studies = studies_at(folder)
    if not studies:
        raise UserError(f"{folder} holds no study; `raysearch run` makes one")
    return [read_status(study) for study in studies]


def read_status(folder: UPath) -> Status:
    """Read the status of a study.

    Raises:
        UserError: there is no study, or it is of another version.
    """
    study = StudyFolder(folder)
    manifest = study.manifest
    queue = _queue(study, manifest)
    final, frozen = read_final(folder / FINAL), read_frozen(folder)
    unended = [proposal for proposal in queue.proposals if proposal.number not in queue.records]
    return Status(
        queue,
        _state(folder, queue),
        manifest.started,
        frozen,
        final.score,
        final_note(final, read_ledger(folder, manifest.started), frozen),
        reference_score(folder),
        tuple((proposal, queue.context.epochs_of(proposal)) for proposal in unended),
    )


def _state(folder: UPath, queue: TrialQueue) -> State:
    if is_locked(folder):
        return "running"
    return "finished" if queue.is_finished and (folder / "frozen.json").is_file() else "stopped"


def _queue(study: StudyFolder, manifest: Manifest) -> TrialQueue:
    space = check_space(manifest.space, str(study.path / "study.json"))
    # The recordings are not read: they may be missing on this host.
    data = UPath(manifest.data)
    source = make_source(data, manifest.machine, space.validation_ids, space.source_options)
    machines = tuple((replace(source, machine=m), f) for m, f in manifest.machines.items())
    return read_queue(
        StudyContext(study.path, source, manifest.fingerprint, space, manifest.files, machines)
    )


def show(statuses: Sequence[Status], console: Console) -> None:
    """Print studies in the format of the live view."""
    for status in statuses:
        queue = status.queue
        hours = f"{queue.device_seconds / 3600:.2f} device hours"
        running = dict(_running(status)) if status.state == "running" else {}
        start = datetime.fromisoformat(status.started).astimezone()
        times = f"{status.state}, begun {start:%Y-%m-%d %H:%M}, {hours}"
        outcome = list(_outcome(status)) if status.state == "finished" else []
        if status.reference is not None:
            outcome.append(f"reference   {status.reference:.4f}  {NAME}")
        console.print(render_search({queue.name: queue}, running, times, outcome=outcome))


def _outcome(status: Status) -> Iterator[str]:
    if (winner := status.winner) is not None:
        seeds = f" over {count(winner.seeds, 'seed')}" if winner.seeds > 1 else ""
        trial = f"trial {winner.trial}: {settings(winner)}"
        yield f"winner      {validation_score(winner.score)}{seeds}  {trial}"
    if status.final_score is not None:
        note = f"  ({status.final_note})" if status.final_note else ""
        yield f"final test  {status.final_score:.4f}{note}"


def _running(status: Status) -> Iterator[tuple[tuple[str, int], Running]]:
    for proposal, history in status.open:
        trial = Running(
            proposal,
            status.queue.epochs,
            time.monotonic() - sum(epoch.seconds for epoch in history),
            note=origin(proposal),
        )
        if history:
            last = history[-1]
            trial.epoch, trial.train_loss = last.epoch, last.train_loss
            trial.val_loss, trial.score = last.val_loss, _score(history)
        yield (status.queue.name, proposal.number), trial


def _score(history: Sequence[Epoch]) -> float | None:
    """Return the score at the last rung, None before the first rung."""
    return next((e.val_score for e in reversed(history) if e.val_score is not None), None)


def status_json(status: Status) -> dict[str, Any]:
    """Convert a status to JSON values; ended trials have the columns of `trials.csv`."""
    queue = status.queue
    records = [queue.records[number] for number in sorted(queue.records)]
    states = [str(record.state) for record in records]
    best = best_result(records)
    return {
        "run": str(queue.study.path),
        "machine": queue.context.source.machine,
        "state": status.state,
        "started": status.started,
        "trials": {
            "total": queue.total,
            "given_out": len(status.open) + len(records),
            **{name: states.count(name) for name in ("COMPLETE", "PRUNED", "FAIL")},
        },
        "device_seconds": queue.device_seconds,
        "best": _row(best[0]) if best else None,
        "winner": status.winner.to_json() if status.winner else None,
        "reference_score": status.reference,
        "final_score": status.final_score,
        "final_note": status.final_note,
        "open": [_open_row(proposal, history) for proposal, history in status.open],
        "ended": [_row(record) for record in records],
    }


def _row(record: Record) -> dict[str, Any]:
    """Return the row of a trial's best inlier model, or its first row if none has a score."""
    rows = trial_rows(record)
    best = record.best
    return rows[0] if best is None else rows[record.rows.index(best)]


def _open_row(proposal: Proposal, history: Sequence[Epoch]) -> dict[str, Any]:
    last = history[-1] if history else None
    return {
        "trial": proposal.number,
        **proposal.configuration.columns,
        **proposal.inlier_columns,
        "rerun_of": proposal.rerun_of,
        "origin": proposal.origin,
        "epoch": last.epoch if last else 0,
        "train_loss": last.train_loss if last else None,
        "val_loss": last.val_loss if last else None,
        "val_score": _score(history),
    }
