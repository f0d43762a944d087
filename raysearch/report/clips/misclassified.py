"""evidence/wrong/: the worst misclassified clips of a run.

wrong.json  a `MisclassifiedClip` for each, the worst first
1.flac      the worst clip, decoded as for the search
1.png       its log-mel spectrogram: time from left to right, low frequencies at the bottom
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from upath import UPath

from raysearch.report.clips.shown import ShownClip, evidence_folder

WORST = 5
"""Number of clips that a report shows."""


@dataclass(frozen=True)
class MisclassifiedClip:
    """A clip on the wrong side of its threshold.

    Attributes:
        label: 0 normal, 1 anomalous.
        score: higher = more anomalous.
        threshold: of its product ID.
        beyond: clips of the other label and the same product ID that it lies on the wrong side of:
            normal clips that score as high as a missed anomaly or higher, anomalous clips that
            score as low as a false alarm or lower.
        others: clips of the other label and the same product ID.
        seconds: length of the clip.
        f_min: lowest frequency of the spectrogram in Hz.
        f_max: highest frequency of the spectrogram in Hz.
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
    """Position of a misclassified clip; for the counts see `MisclassifiedClip`."""

    position: int
    beyond: int
    others: int


def worst_misclassified(clips: Sequence[ShownClip], count: int = WORST) -> list[Misclassified]:
    """Find the worst clips on the wrong side of their thresholds.

    Clips are compared by rank, since scores have no upper limit: so product IDs compare, and missed
    anomalies with false alarms.

    Args:
        clips: labelled, with scores.
        count: of the returned clips, at most.

    Returns:
        The clip that is beyond the largest share of the other label comes first.
    """
    errors = []
    for position, clip in enumerate(clips):
        assert clip.score is not None, clip
        assert clip.threshold is not None, clip
        opposite = [o.score or 0.0 for o in clips if o.id == clip.id and o.label != clip.label]
        # A clip at the threshold is called normal.
        if (clip.score > clip.threshold) == bool(clip.label) or not opposite:
            continue
        sign = 1 if clip.label else -1
        beyond = sum(sign * score >= sign * clip.score for score in opposite)
        errors.append(Misclassified(position, beyond, len(opposite)))
    return sorted(errors, key=lambda e: (-e.beyond / e.others, e.position))[:count]


def read_misclassified(run: UPath) -> list[tuple[MisclassifiedClip, bytes, bytes]]:
    """Read the worst misclassified clips with their recordings (FLAC) and spectrograms (PNG).

    Returns:
        An empty list if the run has no `evidence/wrong/`.
    """
    folder = evidence_folder(run) / "wrong"
    path = folder / "wrong.json"
    if not path.is_file():
        return []
    clips = [MisclassifiedClip(**content) for content in json.loads(path.read_text("utf-8"))]
    return [
        (clip, (folder / f"{number}.flac").read_bytes(), (folder / f"{number}.png").read_bytes())
        for number, clip in enumerate(clips, start=1)
    ]
