"""evidence/wrong/: the clips that the winner judges worst wrong, to hear and to see.

wrong.json  which, and how wrong
1.flac      the worst, as the search heard it
1.png       its log-mel spectrogram: time from left to right, low frequencies at the bottom
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from upath import UPath

from raysearch.report.clips.shown import ShownClip, evidence_folder

WORST = 5


@dataclass(frozen=True)
class MisclassifiedClip:
    """A clip on the wrong side of its threshold.

    Attributes:
        label: what it is: 0 normal, 1 anomalous.
        score: higher = more anomalous.
        threshold: of its product ID.
        beyond: clips of the other kind, of its product ID, that it lies on the wrong side of:
            normal ones that score as high as a missed anomaly or higher, anomalous ones that
            score as low as a false alarm or lower.
        others: clips of the other kind of its product ID.
        seconds: its length.
        f_min: lowest frequency of the picture in Hz.
        f_max: highest.
    """

    id: str
    clip: str
    label: int
    score: float
    threshold: float
    beyond: int
    others: int
    seconds: float
    f_min: float
    f_max: float


@dataclass(frozen=True)
class Misclassified:
    """How wrong a clip is judged: its position, and see `MisclassifiedClip`."""

    position: int
    beyond: int
    others: int


def worst_misclassified(clips: Sequence[ShownClip], count: int = WORST) -> list[Misclassified]:
    """Finds the clips on the wrong side of their thresholds that are judged worst.

    By rank, not by score: so product IDs compare, and missed anomalies with false alarms, whose
    scores know no upper end.

    Args:
        clips: labelled, with scores.
        count: at most so many.

    Returns:
        The clip that is beyond the largest share of the other kind comes first.
    """
    found = []
    for position, clip in enumerate(clips):
        assert clip.score is not None, clip
        assert clip.threshold is not None, clip
        others = [o.score or 0.0 for o in clips if o.id == clip.id and o.label != clip.label]
        # At the threshold itself a clip is called normal.
        if (clip.score > clip.threshold) == bool(clip.label) or not others:
            continue
        sign = 1 if clip.label else -1
        beyond = sum(sign * other >= sign * clip.score for other in others)
        found.append(Misclassified(position, beyond, len(others)))
    return sorted(found, key=lambda one: (-one.beyond / one.others, one.position))[:count]


def read_misclassified(run: UPath) -> list[tuple[MisclassifiedClip, bytes, bytes]]:
    """The worst wrong clips with their sounds (FLAC) and pictures (PNG); none if there are none."""
    folder = evidence_folder(run) / "wrong"
    path = folder / "wrong.json"
    if not path.is_file():
        return []
    found = [MisclassifiedClip(**content) for content in json.loads(path.read_text("utf-8"))]
    return [
        (one, (folder / f"{number}.flac").read_bytes(), (folder / f"{number}.png").read_bytes())
        for number, one in enumerate(found, start=1)
    ]
