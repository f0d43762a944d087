"""A recording to score: a file, or samples with their sampling rate."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raysearch.data.decode import Int16, decode, to_pcm
from raysearch.data.store import read_header
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


def read_file(path: AnyPath, *, rate: int, channel: int | None) -> Int16:
    """Decode a file to samples (L,) of a sampling rate in Hz and a channel.

    Raises:
        DataError: the file cannot be used; the message names it.
    """
    try:
        return decode(path, rate=rate, channel=channel)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_samples(
    samples: NDArray[Any], samples_rate: int | None, *, rate: int, channel: int | None
) -> Int16:
    """Convert samples (L,) or (L, C), floats of full scale 1, to those of a file.

    Raises:
        DataError: the samples cannot be used.
        UserError: their rate is not given.
    """
    if samples_rate is None:
        raise UserError("samples need their sampling rate; pass rate=HZ")
    columns = np.asarray(samples, np.float32).reshape(len(samples), -1)
    return to_pcm(columns, samples_rate, rate=rate, channel=channel)


def check_rate(source: Source, samples_rate: int | None, *, lowest: float) -> None:
    """Refuse a recording whose sampling rate leaves out a band that a detector hears.

    Args:
        source: a readable file, or samples.
        samples_rate: of samples in Hz.
        lowest: rate in Hz that has all of the band.

    Raises:
        DataError: the rate is lower.
    """
    rate = read_header(source)[0] if isinstance(source, Path) else samples_rate
    if rate is not None and rate < lowest:
        name = f"{source}: " if isinstance(source, Path) else ""
        raise DataError(
            f"{name}recorded at {rate} Hz, so it has nothing above {rate / 2:g} Hz, and the "
            f"detector hears up to {lowest / 2:g} Hz; record at {lowest:g} Hz or more, or say "
            "--any-rate"
        )
