"""How a study stands, from its folder alone: while it is searched, and afterwards."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout
from rich.console import Console
from upath import UPath

from raysearch import storage
from raysearch.data.dataset import source_of
from raysearch.errors import UserError
from raysearch.report.live_table import Running, picture
from raysearch.report.trials_file import trial_rows
from raysearch.report.wording import best_of, count, origin, settings
from raysearch.search.trial_queue import TrialQueue, read_queue
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder, studies_at
from raysearch.study.manifest import Manifest
from raysearch.study.records import Proposal, Record
from raysearch.study.scores import final_score
from raysearch.study.space import check_space
from raysearch.study.winner import Winner, read_frozen
from raysearch.training.outcome import Epoch
from raysearch.training.state import unfinished

State = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class Status:
    """A study at one moment.

    Attributes:
        queue: of the study; nothing is asked of it that would change the folder.
        state: `running` while a process on this host, or on one that shares the folder, is at work
            in it, `finished` once its winner is frozen, else `stopped`.
        started: when it was first begun, in ISO 8601.
        winner: that is frozen.
        final_score: harmonic mean of the final test's AUCs and pAUCs.
        open: trials that were given out and have not ended, with the epochs behind them.
    """

    queue: TrialQueue
    state: State
    started: str
    winner: Winner | None
    final_score: float | None
    open: tuple[tuple[Proposal, tuple[Epoch, ...]], ...]


def read_statuses(folder: UPath) -> list[Status]:
    """Reads how the study of a folder stands, or every study that lies in it.

    Raises:
        UserError: there is none, or one is of another version.
    """
    studies = studies_at(folder)
    if not studies:
        raise UserError(f"{folder} holds no study; `raysearch run` makes one")
    return [read_status(study) for study in studies]


def read_status(folder: UPath) -> Status:
    """Reads how a study stands.

    Raises:
        UserError: there is no study, or it is of another version.
    """
    study = StudyFolder(folder)
    manifest = study.manifest
    queue = _queue(study, manifest)
    given = [proposal for proposal in queue.proposals if proposal.number not in queue.records]
    return Status(
        queue,
        _state(folder, queue),
        manifest.started,
        read_frozen(folder),
        final_score(folder / "final_test.csv"),
        tuple((proposal, unfinished(queue.context.encoder(proposal))[0]) for proposal in given),
    )


def _state(folder: UPath, queue: TrialQueue) -> State:
    if _at_work(folder):
        return "running"
    return "finished" if queue.is_finished and (folder / "frozen.json").is_file() else "stopped"


def _at_work(folder: UPath) -> bool:
    lock = storage.lock(folder, timeout=0)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except Timeout:
        return True


def _queue(study: StudyFolder, manifest: Manifest) -> TrialQueue:
    space = check_space(manifest.space, str(study.path / "study.json"))
    # Only named: the recordings may be out of reach here.
    data = UPath(manifest.data)
    source = source_of(data, manifest.machine, space.validation_ids, space.fixed)
    return read_queue(StudyContext(study.path, source, manifest.fingerprint, space))


def show(statuses: Sequence[Status], console: Console) -> None:
    """Prints studies as the live view of a run has them."""
    for status in statuses:
        queue = status.queue
        hours = f"{queue.device_seconds / 3600:.2f} device hours"
        running = dict(_running(status)) if status.state == "running" else {}
        begun = datetime.fromisoformat(status.started).astimezone()
        times = f"{status.state}, begun {begun:%Y-%m-%d %H:%M}, {hours}"
        outcome = list(_outcome(status)) if status.state == "finished" else []
        console.print(picture({queue.name: queue}, running, times, outcome=outcome))


def _outcome(status: Status) -> Iterator[str]:
    if (winner := status.winner) is not None:
        seeds = f" over {count(winner.seeds, 'seed')}" if winner.seeds > 1 else ""
        what = settings(winner)
        yield f"winner      {winner.score:.4f}{seeds}  trial {winner.trial}: {what}"
    if status.final_score is not None:
        yield f"final test  {status.final_score:.4f}"


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
    """The score at the last rung."""
    return next((e.val_score for e in reversed(history) if e.val_score is not None), None)


def facts_of(status: Status) -> dict[str, Any]:
    """A status for programs: plain values, those of ended trials as `trials.csv` has them."""
    queue = status.queue
    records = [queue.records[number] for number in sorted(queue.records)]
    states = [str(record.state) for record in records]
    best = best_of(records)
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
        "final_score": status.final_score,
        "open": [_open_row(proposal, history) for proposal, history in status.open],
        "ended": [_row(record) for record in records],
    }


def _row(record: Record) -> dict[str, Any]:
    """The row of its best inlier model, or its only row."""
    rows = trial_rows(record)
    best = record.best
    return rows[0] if best is None else rows[record.rows.index(best)]


def _open_row(proposal: Proposal, history: Sequence[Epoch]) -> dict[str, Any]:
    last = history[-1] if history else None
    return {
        "trial": proposal.number,
        **proposal.configuration.to_dict(),
        **proposal.inlier_columns,
        "rerun_of": proposal.rerun_of,
        "origin": proposal.origin,
        "epoch": last.epoch if last else 0,
        "train_loss": last.train_loss if last else None,
        "val_loss": last.val_loss if last else None,
        "val_score": _score(history),
    }
