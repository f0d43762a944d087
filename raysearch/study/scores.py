"""Results of the final test: final_scores.csv by clip, final_test.csv by ID."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from upath import UPath

from raysearch.scoring.bootstrap import ClipScores
from raysearch.scoring.metrics import harmonic_mean
from raysearch.storage import write_text


@dataclass(frozen=True)
class FinalScore:
    """A test clip of a test ID.

    Attributes:
        label: 0 normal, 1 anomalous, None unknown.
        score: higher = more anomalous.
        threshold: of the product ID.
        decision: 1 if the score is above the threshold.
    """

    id: str
    clip: str
    domain: str
    label: int | None
    score: float
    threshold: float
    decision: int


def write_scores(path: UPath, scores: Sequence[FinalScore]) -> None:
    """Write `final_scores.csv` in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(FinalScore)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in scores)
    write_text(path, text.getvalue())


def read_scores(path: UPath) -> list[FinalScore]:
    """Read `final_scores.csv`; empty if there is no file."""
    if not path.is_file():
        return []
    return [
        FinalScore(
            row["id"],
            row["clip"],
            row["domain"],
            int(row["label"]) if row["label"] else None,
            float(row["score"]),
            float(row["threshold"]),
            int(row["decision"]),
        )
        for row in csv.DictReader(io.StringIO(path.read_text("utf-8")))
    ]


def final_score(path: UPath) -> float | None:
    """Return the harmonic mean over the test IDs of `final_test.csv`; None if there is none."""
    if not path.is_file():
        return None
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    ids = [row for row in rows if row["id"] != "hmean"]
    return harmonic_mean(float(row[kind]) for row in ids for kind in ("auc", "pauc"))


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
