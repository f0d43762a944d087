"""Decoding of a recording to int16 samples of one channel at one sampling rate."""

import io
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.errors import DataError, UserError, first_line, one_line
from raysearch.storage import AnyPath

Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]

BLOCK = 1 << 22
"""Frames that are decoded at once, 4 minutes at 16 kHz."""

DECODER = 2
"""Version of the samples that a file is decoded to; another version decodes stores anew."""

LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000
"""Sampling rates in Hz that a file may have; a header that says another is damaged."""

OVERSHOOT = 2.0
"""Highest peak that is clipped: above it samples are not scaled to ±1."""
CLIPPED_SHARE = 0.001
"""Largest share of samples that is clipped; more would make another sound of a recording."""
NOTED_SHARE = 0.0001
"""Least share of samples that stand at full scale that is worth a note."""
QUIET = 33
"""Peak in int16 units, 60 dB below full scale, under which a recording is worth a note."""


def decode(path: AnyPath, *, rate: int, channel: int | None = None) -> Int16:
    """Decode an audio file.

    Args:
        path: any file that libsndfile reads.
        rate: sampling rate of the result in Hz; other rates are resampled.
        channel: channel to keep (from 0); None averages all.

    Returns:
        Samples (L,) as int16.

    Raises:
        DataError: unreadable, empty, not finite, beyond ±1, silent, or without that channel.
        UserError: cannot be read from the object store.
    """
    # Eight channels of floats would take sixteen times the memory of the result.
    return np.concatenate([*decode_blocks(path, rate=rate, channel=channel)])


def decode_blocks(path: AnyPath, *, rate: int, channel: int | None = None) -> Iterator[Int16]:
    """Decode an audio file block by block, to the samples that it has when decoded at once.

    The arguments and the errors are those of `decode`. A recording that is silent or beyond ±1 is
    refused after its last block.

    Yields:
        Samples as int16; those of a file of at most `BLOCK` frames at once.
    """
    with _open_sound(path) as sound:
        check_header(sound.samplerate)
        if sound.frames > BLOCK:
            yield from _long_blocks(sound, rate, channel)
        else:
            samples = sound.read(dtype="float32", always_2d=True)
            yield to_pcm(samples, sound.samplerate, rate=rate, channel=channel)


@contextmanager
def _open_sound(path: AnyPath) -> Iterator[soundfile.SoundFile]:
    try:
        file = open_clip(path)
        with soundfile.SoundFile(file) as sound:
            yield sound
    except UserError:
        raise
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        # soundfile has a ValueError for files in which nobody can go back, such as GSM.
        raise DataError(f"unreadable: {first_line(error)}") from error


def check_header(rate: int) -> None:
    """Refuse a sampling rate in Hz of no recording: from 1 Hz a second becomes 16000.

    Raises:
        DataError: the rate is too low or too high.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"its header says {rate} Hz, which is no sampling rate of a recording")


def _long_blocks(sound: soundfile.SoundFile, rate: int, channel: int | None) -> Iterator[Int16]:
    resample = _resampler(sound.samplerate, rate)
    peak, beyond, is_silent = 0.0, 0, True
    while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
        mono = _one_channel(block, channel)
        peak = max(peak, float(np.abs(mono).max()))
        beyond += int(np.count_nonzero(np.abs(mono) > 1))
        pcm = _quantise(resample(mono, False))
        is_silent = is_silent and not np.any(pcm)
        yield pcm
    _check_scale(peak, beyond, sound.frames)
    last = _quantise(resample(np.empty(0, np.float32), True))
    if is_silent:
        _checked(last)
    yield last


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
        samples: (L, C), full scale is 1. A few samples beyond are clipped: `CLIPPED_SHARE` of
            them, up to `OVERSHOOT`.
        file_rate: sampling rate of `samples` in Hz.
        rate: sampling rate of the result in Hz; other rates are resampled.
        channel: channel to keep (from 0); None averages all.

    Returns:
        Samples (L,) as int16.

    Raises:
        DataError: empty, not finite, beyond ±1, silent, or without that channel.
    """
    mono = _one_channel(samples, channel)
    beyond = int(np.count_nonzero(np.abs(mono) > 1))
    _check_scale(float(np.abs(mono).max()), beyond, mono.size)
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
    pcm: Int16 = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def _checked(pcm: Int16) -> Int16:
    if not np.any(pcm):
        raise DataError("silent")
    return pcm


def _check_scale(peak: float, beyond: int, total: int) -> None:
    """Refuse samples that are not scaled to ±1: clipped, they would be a square wave.

    Args:
        peak: of the samples.
        beyond: number of samples beyond ±1.
        total: number of samples.
    """
    share = beyond / total
    if peak > OVERSHOOT or share > CLIPPED_SHARE:
        raise DataError(
            f"samples up to {peak:.6g}, {share:.1%} of them beyond ±1; scale them to ±1, or write "
            "them as int16"
        )


def level_remarks(pcm: Int16) -> list[str]:
    """List the remarks on the level of decoded samples (L,)."""
    share = sum(_run_share(pcm == end) for end in (32767, -32768))
    peak = int(np.abs(pcm.astype(np.int32)).max())
    texts = []
    if share >= NOTED_SHARE:
        texts.append(f"clipped: {share:.2%} of its samples stand at full scale")
    if peak < QUIET:
        texts.append(f"very quiet: its peak is {peak} of 32768 steps")
    return texts


def _run_share(full: NDArray[np.bool_]) -> float:
    """Return the share of samples (L,) in runs of three or more: a tone of full scale has none."""
    if full.size < 3:
        return 0.0
    middle = full[:-2] & full[1:-1] & full[2:]
    inside = np.zeros(full.shape, np.bool_)
    for offset in range(3):
        inside[offset : offset + middle.size] |= middle
    return float(inside.mean())


def open_clip(path: AnyPath) -> Path | io.BytesIO:
    """Return the input of soundfile: a local path, or the content from an object store.

    Raises:
        DataError: a pipe or a device, which might be read for ever.
        OSError: there is no file.
        UserError: cannot be read from the object store.
    """
    if isinstance(path, Path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("no plain file")
        return path
    try:
        return io.BytesIO(path.fs.cat_file(path.path))
    except Exception as error:  # Not a defect of the clip, so the clip must not be left out.
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
