"""A winner trained again from its seed, and how much of its figures comes out the same.

Only training and validation clips are read: the test IDs stay closed.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from upath import UPath

from raysearch.errors import UserError
from raysearch.pipeline.finished import open_recordings, read_finished
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.storage import AnyPath
from raysearch.study.folder import StudyFolder
from raysearch.study.manifest import library_versions
from raysearch.study.records import Record
from raysearch.training.outcome import InlierResult, TrialResult

TOLERANCE = 0.01
"""Largest difference of a score, and of a loss as a part of the loss, that counts as the same."""


@dataclass(frozen=True)
class Figure:
    """A figure of a run and of its repetition.

    Attributes:
        name: for display.
        recorded: of the run; None if only the repetition has one.
        repeated: of the repetition; None if only the run has one.
        is_relative: True for losses, which have no scale of their own.
    """

    name: str
    recorded: float | None
    repeated: float | None
    is_relative: bool = False

    @property
    def difference(self) -> float:
        """Difference, 0 or higher; infinite if one of both is missing."""
        if self.recorded is None or self.repeated is None:
            return 0.0 if self.recorded == self.repeated else float("inf")
        gap = abs(self.repeated - self.recorded)
        return gap / max(abs(self.recorded), 1e-12) if self.is_relative else gap


@dataclass(frozen=True)
class Verification:
    """The figures of a winner and of its repetition.

    Attributes:
        trial: number of the winner's training.
        figures: losses and scores on the validation clips.
        surroundings: in what the repetition differs from the training, a line each.
    """

    trial: int
    figures: tuple[Figure, ...]
    surroundings: tuple[str, ...] = ()

    @property
    def is_identical(self) -> bool:
        """True if no figure differs in a single bit."""
        return all(figure.recorded == figure.repeated for figure in self.figures)

    def holds(self, tolerance: float = TOLERANCE) -> bool:
        """Return True if no figure differs by more than a tolerance."""
        return all(figure.difference <= tolerance for figure in self.figures)


def verify(
    folder: UPath,
    data: AnyPath | None = None,
    threads: int | None = None,
    bars: ProgressBars = no_progress,
) -> Verification:
    """Train the winner of a study again, with the same seed, and compare its validation figures.

    Args:
        folder: of the study; nothing is written there.
        data: folder of the data set; None takes the study's.
        threads: of torch; None takes those of the training, or the number of cores if its record
            does not tell.
        bars: show the progress.

    Raises:
        UserError: the study has no winner that a trial trained, or other recordings.
        TrialError: the training diverged.
    """
    study = read_finished(folder)
    if study.space.members:
        raise UserError(f"{folder} is an ensemble, which trains nothing; verify its members")
    record = StudyFolder(folder).record(study.winner.trial)
    if record is None or record.encoder != study.winner.encoder:
        raise UserError(f"{folder} has no record of its winner, trial {study.winner.trial}")
    context, recordings = open_recordings(study, data)
    # Imported here: torch takes seconds, and a refused folder needs none of it.
    import torch

    from raysearch.training.network import processor
    from raysearch.training.trial import run_trial
    from raysearch.training.weights import check_files, file_hashes

    config = context.config(record.proposal)
    check_files(config.files, file_hashes([config.options]), str(folder), "verify where it is")
    # A sum over threads depends on their number, in the last bits.
    torch.set_num_threads(threads or record.threads or len(os.sched_getaffinity(0)))
    inliers = tuple(row.spec for row in record.rows)
    with (
        tempfile.TemporaryDirectory(prefix="raysearch-verify-") as temporary,
        bars("training", config.options.epochs) as advance,
    ):
        result = run_trial(config, recordings, inliers, lambda _: advance(1), Path(temporary))
    now = {"threads": torch.get_num_threads(), "processor": processor(), "devices": 1.0}
    different = tuple(_surroundings(record, study.manifest.versions, now | library_versions()))
    return replace(compare(record, result), surroundings=different)


def _surroundings(
    record: Record, versions: Mapping[str, str], now: Mapping[str, object]
) -> Iterator[str]:
    """Yield a line for each part of the surroundings of the training that differs now."""
    # A part of a GPU computes as a whole one does.
    devices = max(1.0, record.devices)
    recorded = {"threads": record.threads, "processor": record.processor, "devices": devices}
    for name, value in (recorded | dict(versions)).items():
        if name in now and now[name] != value:
            yield f"{name} {value or 'unknown'} in the run, {now[name] or 'none'} now"


def compare(record: Record, result: TrialResult) -> Verification:
    """Compare the validation figures of a record with those of its repetition."""
    figures = [Figure("validation loss", record.val_loss, result.val_loss, is_relative=True)]
    old = {epoch.epoch: epoch.train_loss for epoch in record.history}
    new = {epoch.epoch: epoch.train_loss for epoch in result.history}
    figures += [
        Figure(f"training loss of epoch {number}", old.get(number), new.get(number), True)
        for number in sorted(old.keys() | new.keys())
    ]
    repeated = {row.spec: row for row in result.rows}
    for row in record.rows:
        figures += _scores(row, repeated[row.spec])
    return Verification(record.proposal.number, tuple(figures))


def _scores(old: InlierResult, new: InlierResult) -> Iterator[Figure]:
    yield Figure(f"validation score with {old.spec}", old.val_score, new.val_score)
    for name, before, after in (("AUC", old.auc, new.auc), ("pAUC", old.pauc, new.pauc)):
        for identity in sorted(before.keys() | after.keys()):
            label = f"{name} of ID {identity} with {old.spec}"
            yield Figure(label, before.get(identity), after.get(identity))


def describe(verification: Verification, tolerance: float) -> list[str]:
    """Return lines for display: differing figures, widest gap first, surroundings, a verdict."""
    trial, count = verification.trial, len(verification.figures)
    if verification.is_identical:
        return [f"trial {trial}: identical, in all of {count} figures"]
    differing = [f for f in verification.figures if f.recorded != f.repeated]
    differing.sort(key=lambda figure: -figure.difference)
    lines = [
        f"  {figure.name}: {_shown(figure.recorded)} in the run, {_shown(figure.repeated)} now"
        for figure in differing
    ]
    beyond = sum(figure.difference > tolerance for figure in differing)
    lines += [f"  not as in the run: {line}" for line in verification.surroundings]
    verdict = f"{len(differing)} of {count} figures differ, {beyond or 'none'} by more than"
    return [*lines, f"trial {trial}: {verdict} {tolerance:g}"]


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
