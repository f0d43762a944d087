"""evidence/clips.csv: scores and embeddings of single clips, without test clips of test IDs.

The file is written last: an evidence folder without it is incomplete and is collected again.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum

from upath import UPath

from raysearch.storage import make_folder, write_text
from raysearch.study.stored import MADE_AGAIN, explain_damage, read_table
from raysearch.training.combined import machine_key


class Part(StrEnum):
    """Part of the data set that a clip belongs to."""

    VALIDATION = "validation"
    HELD_OUT = "held-out training"
    OTHER = "other machine type"


@dataclass(frozen=True)
class ShownClip:
    """A clip with the winner's score and embedding.

    Attributes:
        label: 0 normal, 1 anomalous.
        score: higher = more anomalous; None for other machine types, which have no inlier model.
        threshold: of its product ID; above it a clip is called anomalous.
        x: first coordinate on the plane of all embeddings.
        y: second coordinate.
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
    """Return the folder of a run for the single clips of its report."""
    return run / "evidence"


def machine_home(run: UPath, machine: str) -> UPath:
    """Return the folder of a validation machine of a shared search, which holds its evidence."""
    return run / "machines" / machine


def read_validation(run: UPath, machines: Sequence[str]) -> list[ShownClip]:
    """Read the scored validation clips of a run.

    Args:
        run: folder of the run.
        machines: validation machines of a shared search, whose product IDs become `machine/ID`;
            empty for any other search.
    """
    clips = [] if machines else read_clips(run)
    for machine in machines:
        of_machine = read_clips(machine_home(run, machine))
        clips += [replace(clip, id=machine_key(machine, clip.id)) for clip in of_machine]
    return [clip for clip in clips if clip.part is Part.VALIDATION and clip.score is not None]


def has_evidence(run: UPath) -> bool:
    """Return True if the evidence folder of a run is complete."""
    return _table(run).is_file()


def write_clips(run: UPath, clips: Sequence[ShownClip]) -> None:
    """Write `evidence/clips.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ShownClip)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(clip) for clip in clips)
    make_folder(evidence_folder(run), below=run)
    write_text(_table(run), text.getvalue())


def read_clips(run: UPath) -> list[ShownClip]:
    """Read `evidence/clips.csv`; without the file there are no clips.

    Raises:
        UserError: the file is damaged.
    """
    if not has_evidence(run):
        return []
    with explain_damage(_table(run), MADE_AGAIN):
        return [_clip(row) for row in read_table(_table(run), "clip", "score")]


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
