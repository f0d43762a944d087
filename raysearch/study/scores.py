"""Results of the final test: final_scores.csv by clip, final_test.csv by ID."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property

import numpy as np
from upath import UPath

from raysearch.config import id_order
from raysearch.scoring.intervals import Interval, score_interval
from raysearch.scoring.metrics import ClipScores, auc_pauc, harmonic_mean
from raysearch.scoring.official import OfficialResult
from raysearch.storage import write_text
from raysearch.study.stored import FROM_BACKUP, explain_damage, read_table

FINAL, SCORES = "final_test.csv", "final_scores.csv"
"""Files of the first opening of the test IDs."""
HMEAN = "hmean"
"""ID of the last row of `final_test.csv`."""


@dataclass(frozen=True)
class FinalScore:
    """A test clip of a test ID.

    Attributes:
        label: 0 normal, 1 anomalous, None unknown.
        score: higher = more anomalous.
        threshold: of the product ID.
        decision: 1 if the score is above the threshold.
        error: reason why the clip could not be scored; the score then is the worst of its ID.
    """

    id: str
    clip: str
    domain: str
    label: int | None
    score: float
    threshold: float
    decision: int
    error: str = ""


@dataclass(frozen=True)
class IdResult:
    """Result of a test ID.

    Attributes:
        auc: None if the labelled clips are not of both kinds.
        pauc: None likewise.
        low: lower bound of the 95 % interval of their harmonic mean over other clips; None of too
            few clips, and in files of earlier versions.
        high: upper bound; None likewise.
        normal: number of labelled normal clips; None in files of earlier versions.
        anomalous: number of labelled anomalous clips; None likewise.
        unlabelled: number of clips without label; None likewise.
        note: reason for a missing result, or what it leaves out; else empty.
    """

    id: str
    auc: float | None = None
    pauc: float | None = None
    low: float | None = None
    high: float | None = None
    normal: int | None = None
    anomalous: int | None = None
    unlabelled: int | None = None
    note: str = ""

    @property
    def areas(self) -> tuple[float, float] | None:
        """AUC and pAUC; None without a result."""
        return None if self.auc is None or self.pauc is None else (self.auc, self.pauc)


@dataclass(frozen=True)
class FinalTest:
    """Result of a final test; empty if there was none.

    Attributes:
        ids: a result for each test ID, by ID.
        remarks: about clips that were left out.
        interval: 95 % interval of the score over other clips; None of too few clips.
        reference: score of the reference on the same clips; None without one.
        official: official scores of clips of both domains; None of one domain, and where a result
            is read from a file.
    """

    ids: tuple[IdResult, ...] = ()
    remarks: tuple[str, ...] = ()
    interval: Interval | None = None
    reference: float | None = None
    official: OfficialResult | None = None

    @cached_property
    def areas(self) -> Mapping[str, tuple[float, float]]:
        """AUC and pAUC of the IDs that have them."""
        return {row.id: row.areas for row in self.ids if row.areas is not None}

    @property
    def score(self) -> float | None:
        """Harmonic mean of all AUCs and pAUCs; None if no ID has them."""
        values = [value for areas in self.areas.values() for value in areas]
        return harmonic_mean(values) if values else None

    @property
    def note(self) -> str:
        """Limits of the score for all places where it stands; empty if there are none."""
        notes = [f"ID {row.id}: {row.note}" for row in self.ids if row.note]
        if self.areas and len(self.areas) < len(self.ids):
            notes.insert(0, f"over {len(self.areas)} of {len(self.ids)} test IDs")
        return "; ".join(notes)


def judge(scores: Sequence[FinalScore], test_ids: Sequence[str]) -> FinalTest:
    """Compute AUC and pAUC of each test ID from the labelled clips among scored clips."""
    ids = tuple(
        _judge_id(identity, [score for score in scores if score.id == identity])
        for identity in sorted(test_ids, key=id_order)
    )
    result = FinalTest(ids)
    return replace(result, interval=score_interval([clip_scores_by_id(scores, result.areas)]))


def _judge_id(identity: str, scores: Sequence[FinalScore]) -> IdResult:
    labelled = [score for score in scores if score.label is not None]
    labels = np.array([score.label for score in labelled], np.int64)
    anomalous = int(labels.sum())
    counts = len(labels) - anomalous, anomalous, len(scores) - len(labels)
    auc = pauc = low = high = None
    notes = []
    if not scores:
        notes.append("no test clips")
    elif not labelled:
        notes.append("no labels")
    elif anomalous in (0, len(labels)):
        notes.append("labelled clips are all of one kind")
    else:
        values = np.array([score.score for score in labelled])
        auc, pauc = auc_pauc(labels, values)
        low, high = score_interval([{identity: (labels, values)}]) or (None, None)
    if labelled and len(labelled) < len(scores):
        notes.append(f"labels of {len(labelled)} of {len(scores)} clips")
    if failed := sum(bool(score.error) for score in scores):
        notes.append(f"{failed} unreadable, with the worst score")
    return IdResult(identity, auc, pauc, low, high, *counts, note=", ".join(notes))


def write_final(path: UPath, machine: str, result: FinalTest) -> None:
    """Write `final_test.csv`: a row for each test ID, then the harmonic means.

    Args:
        path: of the file.
        machine: machine type.
        result: with AUC and pAUC of at least one ID.
    """
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["machine", *(field.name for field in fields(IdResult))], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows({"machine": machine, **asdict(row)} for row in result.ids)
    areas = result.areas.values()
    auc, pauc = (harmonic_mean(kind) for kind in zip(*areas, strict=True))
    low, high = result.interval or ("", "")
    means = {"auc": auc, "pauc": pauc, "low": low, "high": high, "note": result.note}
    writer.writerow({"machine": machine, "id": HMEAN, **means})
    write_text(path, text.getvalue())


def read_final(path: UPath) -> FinalTest:
    """Read `final_test.csv`; empty if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return FinalTest()
    with explain_damage(path, FROM_BACKUP):
        rows = read_table(path, "id", "auc", "pauc")
        if not rows or rows[-1]["id"] != HMEAN:
            raise ValueError(f"no last row {HMEAN}")
        ids = [_id_result(row) for row in rows[:-1]]
        return FinalTest(
            tuple(sorted(ids, key=lambda row: id_order(row.id))), interval=_bounds(rows[-1])
        )


def _bounds(row: Mapping[str, str]) -> Interval | None:
    """Return the interval of a row; None in files of earlier versions."""
    low, high = row.get("low"), row.get("high")
    return (float(low), float(high)) if low and high else None


def _id_result(row: Mapping[str, str]) -> IdResult:
    auc, pauc = (_area(row[name]) for name in ("auc", "pauc"))
    low, high = _bounds(row) or (None, None)
    # Earlier versions wrote no counts.
    normal, anomalous, unlabelled = (
        int(text) if (text := row.get(name)) else None
        for name in ("normal", "anomalous", "unlabelled")
    )
    counts = normal, anomalous, unlabelled
    return IdResult(row["id"], auc, pauc, low, high, *counts, note=row.get("note") or "")


def _area(text: str) -> float | None:
    if not text:
        return None
    area = float(text)
    if not 0 <= area <= 1:
        raise ValueError(f"{text} is no area")
    return area


def write_scores(path: UPath, scores: Sequence[FinalScore]) -> None:
    """Write `final_scores.csv` in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(FinalScore)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in scores)
    write_text(path, text.getvalue())


def read_scores(path: UPath) -> list[FinalScore]:
    """Read `final_scores.csv`; empty if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return []
    with explain_damage(path, FROM_BACKUP):
        return [_final_score(row) for row in read_table(path, "id", "clip", "score")]


def _final_score(row: Mapping[str, str]) -> FinalScore:
    label = int(row["label"]) if row["label"] else None
    if label not in (None, 0, 1):
        raise ValueError(f"{label} is no label")
    return FinalScore(
        row["id"],
        row["clip"],
        row["domain"],
        label,
        float(row["score"]),
        float(row["threshold"]),
        int(row["decision"]),
        row.get("error") or "",
    )


def clip_scores_by_id(scores: Sequence[FinalScore], ids: Iterable[str]) -> ClipScores:
    """Return labels and scores of the labelled clips of some IDs; empty without clips."""
    clips = {i: [each for each in scores if each.id == i and each.label is not None] for i in ids}
    return {
        identity: (
            np.array([clip.label for clip in chosen], np.int64),
            np.array([clip.score for clip in chosen]),
        )
        for identity, chosen in clips.items()
        if chosen
    }
