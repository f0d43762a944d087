"""Decoding of a recording to int16 samples of one channel at one sampling rate."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.errors import DataError, UserError, one_line
from raysearch.storage import AnyPath

Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]

BLOCK = 1 << 22
"""Frames that are decoded at once, 4 minutes at 16 kHz."""


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
        with soundfile.SoundFile(file) as sound:
            if sound.frames > BLOCK:
                return _decode_long(sound, rate, channel)
            samples = sound.read(dtype="float32", always_2d=True)
            return to_pcm(samples, sound.samplerate, rate=rate, channel=channel)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"unreadable: {error}") from error


def _decode_long(sound: soundfile.SoundFile, rate: int, channel: int | None) -> Int16:
    """Decode a file block by block, to the samples (L,) that it has when decoded at once.

    Eight channels of floats take sixteen times the memory of the result.
    """
    resample = _resampler(sound.samplerate, rate)
    parts = []
    while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
        parts.append(_quantise(resample(_one_channel(block, channel), False)))
    parts.append(_quantise(resample(np.empty(0, np.float32), True)))
    return _checked(np.concatenate(parts))


def _resampler(file_rate: int, rate: int) -> Callable[[Float32, bool], Float32]:
    """Return a function of the next samples and of True after the last ones."""
    if file_rate == rate:
        return lambda samples, _: samples
    import soxr

    stream = soxr.ResampleStream(file_rate, rate, 1, dtype="float32")
    return lambda samples, is_last: stream.resample_chunk(samples, last=is_last)


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
    mono = _one_channel(samples, channel)
    if file_rate != rate:
        import soxr

        mono = soxr.resample(mono, file_rate, rate)
    return _checked(_quantise(mono))


def _one_channel(samples: Float32, channel: int | None) -> Float32:
    """Return one channel (L,) of samples (L, C), or the mean of all."""
    if channel is not None and channel >= samples.shape[1]:
        raise DataError(f"no channel {channel}: has {samples.shape[1]}")
    mono: Float32 = samples.mean(axis=1) if channel is None else samples[:, channel]
    if not mono.size:
        raise DataError("empty")
    if not np.isfinite(mono).all():
        raise DataError("holds NaN or infinite samples")
    return mono


def _quantise(mono: Float32) -> Int16:
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _checked(pcm: Int16) -> Int16:
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
