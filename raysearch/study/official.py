"""Official scores of a final test over both domains, and official_scores.csv."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

import numpy as np
from upath import UPath

from raysearch.config import id_order
from raysearch.scoring.official import (
    DOMAINS,
    LabelledClips,
    OfficialResult,
    OfficialScores,
    official_scores,
)
from raysearch.storage import write_text
from raysearch.study.scores import FinalScore

OFFICIAL = "official_scores.csv"
"""File of the first opening of the test IDs."""


def judge_domains(scores: Sequence[FinalScore], test_ids: Sequence[str]) -> OfficialResult | None:
    """Compute the official scores of each test ID from the labelled clips among scored clips.

    Clips without a domain are left out, which the note of their ID says.

    Returns:
        None unless there are clips of both domains, with labels of both kinds for some ID.
    """
    if not set(DOMAINS) <= {score.domain for score in scores}:
        return None
    result = OfficialResult(
        tuple(
            _judge_id(identity, [score for score in scores if score.id == identity])
            for identity in sorted(test_ids, key=id_order)
        )
    )
    return result if any(row.has_value for row in result.ids) else None


def _judge_id(identity: str, scores: Sequence[FinalScore]) -> OfficialScores:
    return official_scores(identity, labelled_clips(scores), ", ".join(_notes(scores)))


def labelled_clips(scores: Sequence[FinalScore]) -> LabelledClips:
    """Return the labelled clips with a domain among some scores."""
    chosen = [each for each in scores if each.domain in DOMAINS and each.label is not None]
    return LabelledClips(
        np.array([each.domain for each in chosen], np.str_),
        np.array([each.label for each in chosen], np.int64),
        np.array([each.score for each in chosen], np.float64),
        np.array([each.decision for each in chosen], np.int64),
    )


def _notes(scores: Sequence[FinalScore]) -> list[str]:
    notes = []
    for domain in DOMAINS:
        labels = [score.label for score in scores if score.domain == domain]
        labelled = [label for label in labels if label is not None]
        if not labels:
            notes.append(f"no {domain} clips")
        elif not labelled:
            notes.append(f"no labels of {domain} clips")
        elif len(set(labelled)) == 1:
            notes.append(f"labelled {domain} clips are all of one kind")
        if labelled and len(labelled) < len(labels):
            notes.append(f"labels of {len(labelled)} of {len(labels)} {domain} clips")
    if left_out := sum(score.domain not in DOMAINS for score in scores):
        notes.append(f"{left_out} without a domain left out")
    if failed := sum(bool(score.error) for score in scores):
        notes.append(f"{failed} unreadable, with the worst score")
    return notes


def write_official(path: UPath, machine: str, result: OfficialResult) -> None:
    """Write `official_scores.csv`: a row for each test ID, then the harmonic means.

    Args:
        path: of the file.
        machine: machine type.
        result: of the final test.
    """
    text = io.StringIO()
    columns = ["machine", *(field.name for field in fields(OfficialScores))]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"machine": machine, **asdict(row)} for row in (*result.ids, result.mean))
    write_text(path, text.getvalue())
