"""Cache of decoded clips: one memory-mapped int16 array per set of clips.

A store is a folder `<cache>/<machine>-<split>-<key>` with `samples.i16` and `index.json`. A lock
and an atomic rename let concurrent processes build it once; all trials of a node share its pages.
"""

import glob
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock
from numpy.typing import NDArray

from raysearch.data.decode import Int16, check_header, decode, open_clip
from raysearch.data.folders import check_answer, file_stamps
from raysearch.data.index import Clip
from raysearch.data.store_files import (
    SAMPLES,
    StoreDamageError,
    StoreWriter,
    drop_store,
    known_recording,
    read_store,
    sync_folder,
)
from raysearch.errors import DataError
from raysearch.storage import AnyPath, cache_folder, is_remote

logger = logging.getLogger(__name__)

_CHUNK = 128
"""Clips decoded between two writes; bounds the memory of decoded clips."""

_TRUNCATED = re.compile(
    r"^\s*(?:data|SSND|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_STREAM = 0x7FFF0000


@dataclass(frozen=True)
class Defect:
    """A file that is left out, or used with a remark, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Store:
    """Waveforms of a set of clips.

    Attributes:
        clips: the clips that could be decoded, in the order of the samples.
        samples: (total,) int16, memory-mapped read-only.
        offsets: (len(clips) + 1,) start of each clip, and the end of the last.
        fingerprint: hash of the clips' identities and samples, without paths and times.
        mean: of all samples, in int16 units.
        std: of all samples, in int16 units.
        defects: defective files, which are left out.
    """

    clips: tuple[Clip, ...]
    samples: Int16
    offsets: NDArray[np.int64]
    fingerprint: str
    mean: float
    std: float
    defects: tuple[Defect, ...]

    def waveform(self, index: int) -> Int16:
        """Return the samples (L,) of a clip."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of samples of each clip (len(clips),)."""
        return np.diff(self.offsets)


def read_header(path: AnyPath) -> tuple[int, float]:
    """Read the sampling rate in Hz and the length in s from the header of an audio file.

    Raises:
        DataError: not a readable audio file.
    """
    try:
        info = soundfile.info(open_clip(path))
        check_header(info.samplerate)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path} is not a readable audio file") from error
    return info.samplerate, info.frames / info.samplerate


def remarks(path: AnyPath, *, rate: int, segment: int) -> list[str]:
    """List the remarks on a readable file that is used nevertheless.

    Args:
        path: audio file.
        rate: sampling rate of the search in Hz.
        segment: samples of a segment at that rate.
    """
    info = soundfile.info(open_clip(path), verbose=True)
    texts = []
    if missing := _missing_share(info.extra_info):
        texts.append(f"truncated: {missing:.0%} of what its header announces is missing")
    if info.samplerate != rate:
        texts.append(f"wrong rate: {info.samplerate} Hz, will be resampled to {rate} Hz")
    if info.frames / info.samplerate < segment / rate:
        seconds = info.frames / info.samplerate
        texts.append(f"shorter than a segment: {seconds:.2f} s, will be repeated")
    return texts


def _missing_share(log: str) -> float:
    """Return the share of a file that is missing by libsndfile's log of its header."""
    for announced, present in _TRUNCATED.findall(log):
        # A program that writes into a pipe announces the largest size that there is.
        if int(present) < int(announced) < _STREAM:
            return 1 - int(present) / int(announced)
    return 0.0


def open_store(
    clips: Sequence[Clip],
    *,
    rate: int = 16000,
    channel: int | None = None,
    allow_defects: bool = False,
    cache: Path | None = None,
    on_clips: Callable[[int], None] | None = None,
) -> Store:
    """Open the store of these clips, building it first if it does not exist.

    Args:
        clips: clips of one machine type and one split.
        rate: sampling rate of the store in Hz.
        channel: channel to keep; None averages all.
        allow_defects: accept more than 1 % of defective files.
        cache: folder of all stores; default `cache_folder()`.
        on_clips: called with the number of clips decoded since the last call.

    Raises:
        DataError: too many defective files, or none that can be used.
    """
    assert len({(clip.machine, clip.split) for clip in clips}) == 1
    home = cache or cache_folder()
    key = _cache_key(clips, rate, channel)
    folder = home / f"{clips[0].machine}-{clips[0].split}-{key}"
    store = _opened(folder, clips)
    if store is None:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            store = _opened(folder, clips)
            if store is None:
                _build(folder, clips, rate, channel, on_clips)
                store = _opened(folder, clips)
    if store is None:
        raise DataError(
            f"{folder} reads back otherwise than it was written; set RAYSEARCH_CACHE to a folder "
            "on another disk"
        )
    _refuse_defects(store, len(clips), allow_defects)
    return store


def empty_store() -> Store:
    """Return the store of no clips."""
    fingerprint = hashlib.sha256().hexdigest()
    return Store((), np.zeros(0, np.int16), np.zeros(1, np.int64), fingerprint, 0.0, 1.0, ())


def _opened(folder: Path, clips: Sequence[Clip]) -> Store | None:
    """Open a store if it exists, was decoded by this version and is whole."""
    try:
        files = read_store(folder)
    except StoreDamageError as error:
        logger.warning("%s is damaged (%s); its recordings are decoded anew", folder, error)
        drop_store(folder)
        return None
    if files is None:
        return None
    return Store(
        clips=tuple(clips[i] for i in files.kept),
        samples=files.samples,
        offsets=np.array(files.offsets, np.int64),
        fingerprint=files.fingerprint,
        mean=files.mean,
        std=files.std,
        defects=tuple(Defect(path, reason) for path, reason in files.defects),
    )


def _cache_key(clips: Sequence[Clip], rate: int, channel: int | None) -> str:
    digest = hashlib.sha256(f"{rate}/{channel}".encode())
    for clip, stamp in zip(clips, file_stamps([clip.path for clip in clips]), strict=True):
        digest.update(f"{clip.id}/{clip.domain}/{clip.label}/{clip.path}/{stamp}".encode())
        digest.update(known_recording(clip))
    return digest.hexdigest()[:16]


def _build(
    folder: Path,
    clips: Sequence[Clip],
    rate: int,
    channel: int | None,
    on_clips: Callable[[int], None] | None,
) -> None:
    def attempt(clip: Clip) -> Int16 | str:
        try:
            return decode(clip.path, rate=rate, channel=channel)
        except DataError as error:
            check_answer(clip.path)
            return str(error)

    # An object store has a high latency but serves many clips at a time.
    threads = 32 if is_remote(clips[0].path) else None
    # This process has the lock, so a partial store is left from a process that was killed.
    for leftover in folder.parent.glob(f"{glob.escape(folder.name)}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        with (partial / SAMPLES).open("wb") as file, ThreadPoolExecutor(threads) as pool:
            writer = StoreWriter(file)
            for start in range(0, len(clips), _CHUNK):
                chunk = clips[start : start + _CHUNK]
                for offset, decoded in enumerate(pool.map(attempt, chunk)):
                    writer.add(start + offset, clips[start + offset], decoded)
                if on_clips is not None:
                    on_clips(len(chunk))
            writer.finish(partial)
        shutil.rmtree(folder, ignore_errors=True)  # a store of another version, or a damaged one
        partial.rename(folder)
        sync_folder(folder.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(partial)  # A full disk is named by no error of a write.
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _refuse_defects(store: Store, total: int, allow_defects: bool) -> None:
    if not store.defects:
        return
    first = store.defects[0]
    count = f"{len(store.defects)} of {total} files are defective, the first {first.path}"
    if not store.clips:
        raise DataError(f"{count}: {first.reason}; no clip is left")
    if len(store.defects) > 0.01 * total and not allow_defects:
        raise DataError(
            f"{count}: {first.reason}; list them with `raysearch data check`, "
            "or leave them out with --allow-defects"
        )
