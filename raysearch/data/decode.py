"""One recording as samples: decoded, one channel, one sampling rate."""

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.errors import DataError, UserError, one_line
from raysearch.storage import AnyPath

Int16 = NDArray[np.int16]


def decode(path: AnyPath, *, rate: int, channel: int | None = None) -> Int16:
    """Decodes one audio file.

    Args:
        path: any file that libsndfile reads.
        rate: wanted sampling rate in Hz; other rates are resampled.
        channel: which channel to keep (from 0); None averages all.

    Returns:
        Samples (L,) as int16.

    Raises:
        DataError: unreadable, empty, not finite, silent, or without that channel.
        UserError: the object store does not give it.
    """
    file = open_clip(path)
    try:
        samples, found = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"unreadable: {error}") from error
    return to_pcm(samples, found, rate=rate, channel=channel)


def to_pcm(
    samples: NDArray[np.float32], found: int, *, rate: int, channel: int | None = None
) -> Int16:
    """Convert samples to one channel of 16-bit PCM.

    Args:
        samples: (L, C), full scale is 1.
        found: their sampling rate in Hz.
        rate: wanted sampling rate in Hz; other rates are resampled.
        channel: which channel to keep (from 0); None averages all.

    Returns:
        Samples (L,) as int16.

    Raises:
        DataError: empty, not finite, silent, or without that channel.
    """
    if channel is not None and channel >= samples.shape[1]:
        raise DataError(f"no channel {channel}: has {samples.shape[1]}")
    mono = samples.mean(axis=1) if channel is None else samples[:, channel]
    if not mono.size:
        raise DataError("empty")
    if not np.isfinite(mono).all():
        raise DataError("holds NaN or infinite samples")
    if found != rate:
        import soxr

        mono = soxr.resample(mono, found, rate)
    pcm: Int16 = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    if not np.any(pcm):
        raise DataError("silent")
    return pcm


def open_clip(path: AnyPath) -> Path | io.BytesIO:
    """Return what soundfile reads of a recording: its path, or its content from an object store.

    Raises:
        UserError: the object store does not give it.
    """
    if isinstance(path, Path):
        return path
    try:
        return io.BytesIO(path.fs.cat_file(path.path))
    except Exception as error:  # No defect of the clip, which must not be left out for it.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
