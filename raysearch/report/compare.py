"""Comparison of two studies of one machine type, with a paired interval of their difference.

Both detectors are scored on the same clips, and clips that are hard for both do not widen the
interval of the difference. A detector is a single training, so the interval says which detector is
better, not which configuration: another seed might turn the difference round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from upath import UPath

from raysearch.errors import UserError, printable
from raysearch.report.clips.shown import read_validation
from raysearch.report.progress import say
from raysearch.report.tables import number
from raysearch.report.wording import format_score
from raysearch.scoring.intervals import no_interval, paired_interval
from raysearch.scoring.jackknife import clip_score
from raysearch.scoring.metrics import ClipScores
from raysearch.study.records import State
from raysearch.study.results import Results, read_results
from raysearch.study.winner import Winner

VALIDATION, FINAL = "validation", "final test"
REMEDY = "`raysearch run` writes the scores"
NO_IDS = "a run has no product IDs for it"

Clips = Mapping[tuple[str, str], tuple[int, float]]
"""Product ID and name of a clip -> its label, 1 for an anomaly, and its score."""


@dataclass(frozen=True)
class Difference:
    """Difference of two detectors on the clips that both scored.

    Attributes:
        split: `validation` or `final test`.
        clips: that both scored, of IDs with normal and anomalous clips.
        unpaired: clips that only one detector scored.
        first: harmonic mean of AUC and pAUC over the IDs, of the first detector.
        second: the same of the second detector.
        low: lower bound of second minus first over other clips, with 97.5 % confidence; None if
            missing.
        high: upper bound.
        missing: reason why there is no interval, else empty.
    """

    split: str
    clips: int
    unpaired: int
    first: float
    second: float
    low: float | None
    high: float | None
    missing: str = ""

    @property
    def verdict(self) -> str:
        """Verdict in words: the better detector, or `within noise`; else why there is none."""
        if self.low is None or self.high is None:
            return self.missing
        if self.low <= 0 <= self.high:
            return "within noise"
        return f"the {'second' if self.low > 0 else 'first'} detector is better"


@dataclass(frozen=True)
class Comparison:
    """A comparison of two studies.

    Attributes:
        names: folders of the studies.
        rows: name of a setting or cost -> its values, for people.
        differences: on clips that both scored; none if one study lacks its clips.
        notes: caveats, a line each.
    """

    names: tuple[str, str]
    rows: dict[str, tuple[str, str]]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare(first: UPath, second: UPath) -> Comparison:
    """Compare two studies.

    Raises:
        UserError: a study has no frozen configuration yet, or they are of different machine types.
    """
    results = read_results(first), read_results(second)
    winners = [_winner(each) for each in results]
    machine, other_machine = (winner.machine for winner in winners)
    if machine != other_machine:
        raise UserError(
            f"{first} is a study of {machine}, {second} of {other_machine}: only studies of one "
            "machine type score the same clips"
        )
    searched = {name for winner in winners for name, _ in winner.configuration.options}
    names = ["method", *sorted(searched - {"method"})]
    facts = [_facts(each, winner, names) for each, winner in zip(results, winners, strict=True)]
    rows = {name: (facts[0][name], facts[1][name]) for name in facts[0]}
    differences, notes = [], []
    if winners[0].data != winners[1].data:
        notes.append("they were searched on different recordings")
    for split, read in ((VALIDATION, _validation), (FINAL, _final)):
        difference = _difference(split, *map(read, results))
        if difference is None:
            spaces = [each.space for each in results]
            ids = [space.test_ids if split == FINAL else space.validation_ids for space in spaces]
            notes.append(f"{split}: no clips that both scored; {REMEDY if all(ids) else NO_IDS}")
        else:
            differences.append(difference)
    if any(difference.low is not None for difference in differences):
        notes.append("each detector is one seed: no claim about the configurations")
    if differences and differences[-1].split == FINAL:
        notes.append(
            "choose by validation: a final test is biased for a configuration chosen by it"
        )
    return Comparison((str(first), str(second)), rows, tuple(differences), tuple(notes))


def _winner(results: Results) -> Winner:
    if results.frozen is None:
        raise UserError(f"{results.folder} has no frozen configuration yet; let its run end first")
    return results.frozen


def _facts(results: Results, winner: Winner, names: Sequence[str]) -> dict[str, str]:
    """Format a study and its winner, with the options that either study searched."""
    options = winner.config(results.space.fixed).options
    records = results.records
    states = [record.state for record in records]
    ended = ", ".join(f"{states.count(state)} {state.lower()}" for state in State)
    values: dict[str, Any] = {
        **{name: getattr(options, name) for name in names},
        "lr": winner.configuration.lr,
        "batch size": winner.configuration.batch_size,
        "λ": winner.configuration.lam,
        "inlier model": winner.inlier.name,
        "p": winner.inlier.p,
        "trials": ended,
        "epochs trained": sum(len(record.history) for record in records),
        "device hours": sum(record.device_seconds for record in records) / 3600,
    }
    texts = {name: number(value) for name, value in values.items()}
    return texts | {"validation score": format_score(winner, results.confidence)}


def _validation(results: Results) -> Clips:
    return {
        (clip.id, clip.clip): (clip.label, clip.score)
        for clip in read_validation(results.folder, results.space.validation_machines)
        if clip.score is not None
    }


def _final(results: Results) -> Clips:
    return {
        (score.id, score.clip): (score.label, score.score)
        for score in results.scores
        if score.label is not None
    }


def _difference(split: str, first: Clips, second: Clips) -> Difference | None:
    common = sorted(key for key in first.keys() & second.keys() if first[key][0] == second[key][0])
    labels: dict[str, set[int]] = {}
    for key in common:
        labels.setdefault(key[0], set()).add(first[key][0])
    common = [key for key in common if len(labels[key[0]]) == 2]
    if not common:
        return None
    pair = [_clip_scores(first, common), _clip_scores(second, common)]
    low, high = paired_interval(*pair) or (None, None)
    unpaired = len(first.keys() ^ second.keys())
    scores = clip_score(pair[0]), clip_score(pair[1])
    return Difference(split, len(common), unpaired, *scores, low, high, no_interval(pair))


def _clip_scores(clips: Clips, common: list[tuple[str, str]]) -> ClipScores:
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for key in common:
        labels, scores = columns.setdefault(key[0], ([], []))
        labels.append(clips[key][0])
        scores.append(clips[key][1])
    return {i: (np.array(labels), np.array(scores)) for i, (labels, scores) in columns.items()}


def show(comparison: Comparison, console: Console) -> None:
    """Print a comparison."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", *comparison.names):
        table.add_column(Text(printable(name)), overflow="fold")
    for name, values in comparison.rows.items():
        table.add_row(name, *(Text(printable(value)) for value in values))
    console.print(table)
    for difference in comparison.differences:
        say(console, format_difference(difference))
    for note in comparison.notes:
        say(console, f"note: {note}")


def format_difference(difference: Difference) -> str:
    """Format a difference as a line."""
    gain = difference.second - difference.first
    count = difference.unpaired
    unpaired = f", {count} that only one scored left out" if count else ""
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f" (95 % interval {difference.low:+.4f} to {difference.high:+.4f} over clips)"
    return (
        f"{difference.split}, {difference.clips} clips{unpaired}: {difference.first:.4f} and "
        f"{difference.second:.4f}, difference {gain:+.4f}{interval}: {difference.verdict}"
    )
