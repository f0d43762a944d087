"""Two studies of one machine type side by side, and whether their difference is more than chance.

What one detector scores better than another on the same clips is a paired difference: both are
scored again on the same resampled clips, so that what is hard for both does not count as doubt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.clips.shown import Part, read_clips
from raysearch.report.progress import say
from raysearch.report.tables import number, score_words
from raysearch.scoring.bootstrap import Judged, interval, resampled_scores
from raysearch.scoring.metrics import machine_score
from raysearch.study.confidence import read_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.manifest import read_manifest
from raysearch.study.records import State
from raysearch.study.scores import read_scores
from raysearch.study.winner import Winner, read_frozen

VALIDATION, FINAL = "validation", "final test"

SEED = 0
"""Of the draws: the same two studies compare alike each time."""

Clips = Mapping[tuple[str, str], tuple[int, float]]
"""Product ID and name of a clip -> its label, 1 for an anomaly, and its score."""


@dataclass(frozen=True)
class Difference:
    """How two detectors did on the clips that both scored.

    Attributes:
        on: `validation` or `final test`.
        clips: that both scored, of IDs with both kinds.
        alone: clips that only one of them scored.
        first: harmonic mean of AUC and pAUC over the IDs.
        second: the same of the other.
        low: the second is better by more, with 97.5 % confidence.
        high: and by less.
    """

    on: str
    clips: int
    alone: int
    first: float
    second: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """In words."""
        if self.low <= 0 <= self.high:
            return "within noise"
        return "the second is better" if self.low > 0 else "the first is better"


@dataclass(frozen=True)
class Comparison:
    """Two studies.

    Attributes:
        names: their folders.
        rows: what is compared -> its values, for people.
        differences: on clips that both scored; none where one lacks its clips.
        notes: what a reader must know, a line each.
    """

    names: tuple[str, str]
    rows: dict[str, tuple[str, str]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare(first: UPath, second: UPath) -> Comparison:
    """Compares two studies.

    Raises:
        UserError: one has no frozen configuration yet, or they are of different machine types.
    """
    winners = _winner(first), _winner(second)
    one, other = winners
    if one.machine != other.machine:
        raise UserError(
            f"{first} is a study of {one.machine}, {second} of {other.machine}: only studies of "
            "one machine type hear the same clips"
        )
    facts = [
        _facts(folder, winner) for folder, winner in zip((first, second), winners, strict=True)
    ]
    rows = {what: (facts[0][what], facts[1][what]) for what in facts[0]}
    found, notes = [], []
    if one.data != other.data:
        notes.append("they were searched on different recordings")
    for on, read in ((VALIDATION, _validation), (FINAL, _final)):
        difference = _difference(on, read(first), read(second))
        if difference is None:
            notes.append(f"{on}: no clips that both scored; `raysearch run` keeps them")
        else:
            found.append(difference)
    if found and found[-1].on == FINAL:
        notes.append("choose by validation: what is chosen by its final test is no longer tested")
    return Comparison((str(first), str(second)), rows, tuple(found), tuple(notes))


def _winner(folder: UPath) -> Winner:
    read_manifest(folder)  # Says what is wrong with a folder that is no study.
    winner = read_frozen(folder)
    if winner is None:
        raise UserError(f"{folder} has no frozen configuration yet; let its run end first")
    return winner


def _facts(folder: UPath, winner: Winner) -> dict[str, str]:
    records = StudyFolder(folder).records()
    states = [record.state for record in records]
    ended = ", ".join(f"{states.count(state)} {state.lower()}" for state in State)
    values: dict[str, Any] = {
        "lr": winner.configuration.lr,
        "batch size": winner.configuration.batch_size,
        "λ": winner.configuration.lam,
        "inlier model": winner.inlier.name,
        "p": winner.inlier.p,
        "trials": ended,
        "epochs trained": sum(len(record.history) for record in records),
        "device hours": sum(record.device_seconds for record in records) / 3600,
    }
    found = {name: number(value) for name, value in values.items()}
    return found | {"validation score": score_words(winner, read_confidence(folder))}


def _validation(folder: UPath) -> Clips:
    return {
        (clip.id, clip.clip): (clip.label, clip.score)
        for clip in read_clips(folder)
        if clip.part is Part.VALIDATION and clip.score is not None
    }


def _final(folder: UPath) -> Clips:
    return {
        (score.id, score.clip): (score.label, score.score)
        for score in read_scores(folder / "final_scores.csv")
        if score.label is not None
    }


def _difference(on: str, first: Clips, second: Clips) -> Difference | None:
    common = sorted(key for key in first.keys() & second.keys() if first[key][0] == second[key][0])
    kinds: dict[str, set[int]] = {}
    for key in common:
        kinds.setdefault(key[0], set()).add(first[key][0])
    common = [key for key in common if len(kinds[key[0]]) == 2]
    if not common:
        return None
    one, other = _judged(first, common), _judged(second, common)
    draws = resampled_scores([one, other], SEED)
    low, high = interval(draws[1] - draws[0])
    alone = len(first.keys() ^ second.keys())
    return Difference(on, len(common), alone, _score(one), _score(other), low, high)


def _judged(clips: Clips, common: list[tuple[str, str]]) -> Judged:
    found: dict[str, tuple[list[int], list[float]]] = {}
    for key in common:
        labels, scores = found.setdefault(key[0], ([], []))
        labels.append(clips[key][0])
        scores.append(clips[key][1])
    return {i: (np.array(labels), np.array(scores)) for i, (labels, scores) in found.items()}


def _score(judged: Judged) -> float:
    labels = {identity: labels for identity, (labels, _) in judged.items()}
    return machine_score(
        labels, {identity: scores for identity, (_, scores) in judged.items()}
    ).hmean


def show(comparison: Comparison, console: Console) -> None:
    """Prints a comparison."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", *comparison.names):
        table.add_column(name, overflow="fold")
    for what, values in comparison.rows.items():
        table.add_row(what, *values)
    console.print(table)
    for difference in comparison.differences:
        say(console, verdict_words(difference))
    for note in comparison.notes:
        say(console, f"note: {note}")


def verdict_words(difference: Difference) -> str:
    """A difference in a line."""
    gain = difference.second - difference.first
    alone = f", {difference.alone} that only one scored left out" if difference.alone else ""
    return (
        f"{difference.on}, {difference.clips} clips{alone}: {difference.first:.4f} and "
        f"{difference.second:.4f}, difference {gain:+.4f} (95 % interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}): {difference.verdict}"
    )
