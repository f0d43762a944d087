"""Decoding of a recording to int16 samples of one channel at one sampling rate."""

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.errors import DataError, UserError, one_line
from raysearch.storage import AnyPath

Int16 = NDArray[np.int16]


def decode(path: AnyPath, *, rate: int, channel: int | None = None) -> Int16:
    """Decode an audio file.

    Args:
        path: any file that libsndfile reads.
        rate: sampling rate of the result in Hz; other rates are resampled.
        channel: channel to keep (from 0); None averages all.

    Returns:
        Samples (L,) as int16.

    Raises:
        DataError: unreadable, empty, not finite, silent, or without that channel.
        UserError: cannot be read from the object store.
    """
    file = open_clip(path)
    try:
        samples, file_rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"unreadable: {error}") from error
    return to_pcm(samples, file_rate, rate=rate, channel=channel)


def to_pcm(
    samples: NDArray[np.float32], file_rate: int, *, rate: int, channel: int | None = None
) -> Int16:
    """Convert samples to one channel of 16-bit PCM.

    Args:
        samples: (L, C), full scale is 1.
        file_rate: sampling rate of `samples` in Hz.
        rate: sampling rate of the result in Hz; other rates are resampled.
        channel: channel to keep (from 0); None averages all.

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
    if file_rate != rate:
        import soxr

        mono = soxr.resample(mono, file_rate, rate)
    pcm: Int16 = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    if not np.any(pcm):
        raise DataError("silent")
    return pcm


def open_clip(path: AnyPath) -> Path | io.BytesIO:
    """Return the input of soundfile: a local path, or the content from an object store.

    Raises:
        UserError: cannot be read from the object store.
    """
    if isinstance(path, Path):
        return path
    try:
        return io.BytesIO(path.fs.cat_file(path.path))
    except Exception as error:  # Not a defect of the clip, so the clip must not be left out.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
