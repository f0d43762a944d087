"""evidence/wrong/: the clips that the winner judges worst wrong, to hear and to see.

wrong.json  which, and how wrong
1.flac      the worst, as the search heard it
1.png       its log-mel spectrogram: time from left to right, low frequencies at the bottom
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from upath import UPath

from raysearch.audio.batches import normalise, repeat
from raysearch.audio.store import Int16
from raysearch.detector import Detector
from raysearch.evidence.clips import ShownClip, evidence_folder
from raysearch.network import frontend
from raysearch.storage import write_bytes, write_text

WORST = 5

_PALETTE = (
    (0, 0, 4),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)
"""The colours of a spectrogram from quiet to loud: matplotlib's inferno, at even steps."""


@dataclass(frozen=True)
class WrongClip:
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
class Wrong:
    """How wrong a clip is judged: its position, and see `WrongClip`."""

    position: int
    beyond: int
    others: int


def worst_wrong(clips: Sequence[ShownClip], count: int = WORST) -> list[Wrong]:
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
        found.append(Wrong(position, beyond, len(others)))
    return sorted(found, key=lambda one: (-one.beyond / one.others, one.position))[:count]


def write_wrong(
    run: UPath, worst: Sequence[WrongClip], waves: Sequence[Int16], detector: Detector
) -> None:
    """Writes `evidence/wrong/`.

    Args:
        run: its folder.
        worst: the clips, the worst first.
        waves: samples (L,) of each.
        detector: whose options and normalisation make the pictures.
    """
    folder = evidence_folder(run) / "wrong"
    for number, wave in enumerate(waves, start=1):
        write_bytes(folder / f"{number}.flac", flac(wave, detector.options.rate))
        write_bytes(folder / f"{number}.png", picture(log_mel(wave, detector)))
    told = json.dumps([asdict(one) for one in worst], indent=1)
    write_text(folder / "wrong.json", told + "\n")


def read_wrong(run: UPath) -> list[tuple[WrongClip, bytes, bytes]]:
    """The worst wrong clips with their sounds (FLAC) and pictures (PNG); none if there are none."""
    folder = evidence_folder(run) / "wrong"
    path = folder / "wrong.json"
    if not path.is_file():
        return []
    found = [WrongClip(**content) for content in json.loads(path.read_text("utf-8"))]
    return [
        (one, (folder / f"{number}.flac").read_bytes(), (folder / f"{number}.png").read_bytes())
        for number, one in enumerate(found, start=1)
    ]


def flac(wave: Int16, rate: int) -> bytes:
    """A recording (L,) as a FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def log_mel(wave: Int16, detector: Detector) -> NDArray[np.float32]:
    """The spectrogram (M, F) of a whole clip (L,), normalised as the encoder's segments are."""
    options = detector.options
    samples = normalise(repeat(wave, options.segment), detector.mean, detector.std)
    with torch.inference_mode():
        found: NDArray[np.float32] = frontend(options)(torch.from_numpy(samples[None]))[
            0, 0
        ].numpy()
    return found


def picture(spectrogram: NDArray[np.float32]) -> bytes:
    """A spectrogram (M, F) as a PNG; its quietest hundredth is black, its loudest is brightest."""
    low, high = np.quantile(spectrogram, [0.01, 0.999])
    shade = np.clip((spectrogram - low) / max(high - low, 1e-9), 0, 1)
    image = Image.fromarray((255 * shade[::-1]).astype(np.uint8))
    image.putpalette(_colours())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _colours() -> list[int]:
    """Red, green and blue of 256 shades."""
    steps = np.linspace(0, len(_PALETTE) - 1, 256)
    anchors = np.array(_PALETTE, dtype=float)
    channels = [np.interp(steps, np.arange(len(_PALETTE)), anchors[:, k]) for k in range(3)]
    return [round(value) for value in np.stack(channels, axis=1).ravel().tolist()]
