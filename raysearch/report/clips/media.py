"""Recordings and spectrograms of the worst misclassified clips, for evidence/wrong/."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from upath import UPath

from raysearch.data.batches import normalise, repeat
from raysearch.data.decode import Int16
from raysearch.detector import Detector
from raysearch.report.clips.misclassified import MisclassifiedClip
from raysearch.report.clips.shown import evidence_folder
from raysearch.storage import make_folder, write_bytes, write_text
from raysearch.training.network import frontend

_PALETTE = (
    (0, 0, 4),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)
"""Colours of a spectrogram from quiet to loud: matplotlib's inferno, at even steps."""


def write_misclassified(
    run: UPath, worst: Sequence[MisclassifiedClip], waves: Sequence[Int16], detector: Detector
) -> None:
    """Write `evidence/wrong/`.

    Args:
        run: folder of the run.
        worst: the clips, the worst first.
        waves: samples (L,) of each clip.
        detector: of the winner; its options and normalisation make the spectrograms.
    """
    folder = evidence_folder(run) / "wrong"
    make_folder(folder, below=run)
    for number, wave in enumerate(waves, start=1):
        write_bytes(folder / f"{number}.flac", flac(wave, detector.options.rate))
        write_bytes(folder / f"{number}.png", spectrogram_png(log_mel(wave, detector)))
    content = json.dumps([asdict(clip) for clip in worst], indent=1)
    write_text(folder / "wrong.json", content + "\n")


def flac(wave: Int16, rate: int) -> bytes:
    """Convert a recording (L,) to the bytes of a FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def log_mel(wave: Int16, detector: Detector) -> NDArray[np.float32]:
    """Compute the log-mel spectrogram (M, F) of a clip (L,), normalised as for the encoder."""
    options = detector.options
    samples = normalise(repeat(wave, options.segment), detector.mean, detector.std)
    with torch.inference_mode():
        spectrogram = frontend(options)(torch.from_numpy(samples[None]))[0, 0]
    result: NDArray[np.float32] = spectrogram.numpy()
    return result


def spectrogram_png(spectrogram: NDArray[np.float32]) -> bytes:
    """Convert a spectrogram (M, F) to the bytes of a PNG file.

    Its quietest hundredth is black, its loudest thousandth has the brightest colour.
    """
    low, high = np.quantile(spectrogram, [0.01, 0.999])
    shade = np.clip((spectrogram - low) / max(high - low, 1e-9), 0, 1)
    image = Image.fromarray((255 * shade[::-1]).astype(np.uint8))
    image.putpalette(_colours())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _colours() -> list[int]:
    """Return red, green and blue of 256 shades, one after the other."""
    steps = np.linspace(0, len(_PALETTE) - 1, 256)
    anchors = np.array(_PALETTE, dtype=float)
    channels = [np.interp(steps, np.arange(len(_PALETTE)), anchors[:, k]) for k in range(3)]
    return [round(value) for value in np.stack(channels, axis=1).ravel().tolist()]
