"""A recording to score: a file, or samples with their sampling rate."""

from collections.abc import Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raysearch.data.decode import Int16, decode_blocks, to_pcm
from raysearch.data.store import read_header
from raysearch.data.waveform import Waveform
from raysearch.errors import DataError, UserError
from raysearch.storage import AnyPath

Recording: TypeAlias = str | PathLike[str] | NDArray[Any]
"""A file or samples."""

Source: TypeAlias = Path | NDArray[Any]
"""A recording whose kind is known."""


def sources(recordings: Sequence[Recording] | Recording) -> list[Source]:
    """Return the files or samples of some recordings, or of one.

    Raises:
        UserError: there is no such file.
    """
    if isinstance(recordings, str | PathLike | np.ndarray):
        recordings = [recordings]
    listed = [each if isinstance(each, np.ndarray) else Path(each) for each in recordings]
    for source in listed:
        if isinstance(source, Path) and not source.is_file():
            raise UserError(f"there is no file {source}")
    return listed


def name_of(source: Source) -> str:
    """Return the path of a file, or an empty name for samples."""
    return str(source) if isinstance(source, Path) else ""


def open_recording(
    source: AnyPath | Source, samples_rate: int | None, *, rate: int, channel: int | None
) -> Waveform:
    """Open a recording as samples of a sampling rate in Hz and a channel.

    A long file is read twice, block by block: here, so that a file that cannot be used is refused
    before it is scored, and whenever its samples are needed.

    Args:
        source: a file, or samples (L,) or (L, C) as floats of full scale 1.
        samples_rate: of samples in Hz; not needed for a file.
        rate: of the result in Hz.
        channel: to keep (from 0); None averages all.

    Raises:
        DataError: the recording cannot be used; the message names a file.
        UserError: the rate of samples is not given.
    """
    if isinstance(source, np.ndarray):
        return Waveform.of(_read_samples(source, samples_rate, rate=rate, channel=channel))
    blocks = partial(_file_blocks, source, rate=rate, channel=channel)
    reading = blocks()
    first = next(reading)
    rest = sum(block.size for block in reading)
    if not rest:
        return Waveform.of(first)
    length = first.size + rest
    return Waveform(length, partial(blocks, expected=length))


def _file_blocks(
    path: AnyPath, *, rate: int, channel: int | None, expected: int = 0
) -> Iterator[Int16]:
    """Yield the samples of a file, at least as many as expected."""
    length = 0
    try:
        for block in decode_blocks(path, rate=rate, channel=channel):
            length += block.size
            yield block
        if length < expected:
            raise DataError("has become shorter while it was scored")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read_samples(
    samples: NDArray[Any], samples_rate: int | None, *, rate: int, channel: int | None
) -> Int16:
    """Convert samples (L,) or (L, C), floats of full scale 1, to those of a file."""
    if samples_rate is None:
        raise UserError("samples need their sampling rate; pass rate=HZ")
    columns = np.asarray(samples, np.float32).reshape(len(samples), -1)
    return to_pcm(columns, samples_rate, rate=rate, channel=channel)


def check_rate(source: AnyPath | Source, samples_rate: int | None, *, lowest: float) -> None:
    """Refuse a recording whose sampling rate leaves out a band that a detector hears.

    Args:
        source: a readable file, or samples.
        samples_rate: of samples in Hz.
        lowest: rate in Hz that has all of the band.

    Raises:
        DataError: the rate is lower.
    """
    rate = samples_rate if isinstance(source, np.ndarray) else read_header(source)[0]
    if rate is not None and rate < lowest:
        name = "" if isinstance(source, np.ndarray) else f"{source}: "
        raise DataError(
            f"{name}recorded at {rate} Hz, so it has nothing above {rate / 2:g} Hz, and the "
            f"detector hears up to {lowest / 2:g} Hz; record at {lowest:g} Hz or more, or say "
            "--any-rate"
        )
