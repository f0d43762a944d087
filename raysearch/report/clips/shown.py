"""evidence/clips.csv: what the winner makes of single clips, none of them a test ID's.

The file is written last: an evidence folder without it is torn, and is gathered anew.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

from upath import UPath

from raysearch.storage import write_text


class Part(StrEnum):
    """Where a clip comes from."""

    VALIDATION = "validation"
    HELD_OUT = "held-out training"
    OTHER = "other machine type"


@dataclass(frozen=True)
class ShownClip:
    """A clip as the winner sees it.

    Attributes:
        label: 0 normal, 1 anomalous.
        score: higher = more anomalous; None for other machine types, which have no inlier model.
        threshold: of its product ID; above it a clip is called anomalous.
        x: where it lies on the plane of all embeddings.
        y: see `x`.
    """

    machine: str
    id: str
    clip: str
    part: Part
    label: int
    score: float | None
    threshold: float | None
    x: float
    y: float


def evidence_folder(run: UPath) -> UPath:
    """Where a run keeps what its report shows of single clips."""
    return run / "evidence"


def has_evidence(run: UPath) -> bool:
    """Whether a run has all of it."""
    return _table(run).is_file()


def write_clips(run: UPath, clips: Sequence[ShownClip]) -> None:
    """Writes `evidence/clips.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ShownClip)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(clip) for clip in clips)
    write_text(_table(run), text.getvalue())


def read_clips(run: UPath) -> list[ShownClip]:
    """What `evidence/clips.csv` says; nothing if there is none."""
    if not has_evidence(run):
        return []
    return [_clip(row) for row in csv.DictReader(io.StringIO(_table(run).read_text("utf-8")))]


def _clip(row: dict[str, str]) -> ShownClip:
    return ShownClip(
        row["machine"],
        row["id"],
        row["clip"],
        Part(row["part"]),
        int(row["label"]),
        float(row["score"]) if row["score"] else None,
        float(row["threshold"]) if row["threshold"] else None,
        float(row["x"]),
        float(row["y"]),
    )


def _table(run: UPath) -> UPath:
    return evidence_folder(run) / "clips.csv"
