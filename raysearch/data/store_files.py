"""Files of a store: samples.i16 and index.json, written once and checked whenever they are opened.

index.json holds its own hash, the number of samples and a checksum of each block of them. Whoever
opens a store reads the index, compares the size, and checks a few blocks: the first, the last, and
some that are drawn anew each time. So a file that was cut, emptied or zeroed is always seen, one
that is damaged in a part sooner or later, and gigabytes open in milliseconds.
"""

import hashlib
import json
import math
import os
import random
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from raysearch.data.decode import DECODER, Int16
from raysearch.data.index import Clip
from raysearch.storage import write_text

SAMPLES, INDEX = "samples.i16", "index.json"

FORMAT = 2
"""Version of index.json; a store of another version is decoded anew."""

BLOCK = 1 << 20
"""Bytes of samples that have a checksum."""

CHECKED_BLOCKS = 8
"""Blocks that are checked when a store is opened."""


class StoreDamageError(Exception):
    """A store that is damaged. The message says why."""


@dataclass(frozen=True)
class StoreFiles:
    """The content of a store.

    Attributes:
        kept: positions of the clips that could be decoded.
        samples: (total,) int16, memory-mapped read-only.
        offsets: start of each clip kept, and the end of the last.
        fingerprint: of clips and samples.
        mean: of all samples, in int16 units.
        std: of all samples, in int16 units.
        defects: path and reason of each defective file.
    """

    kept: tuple[int, ...]
    samples: Int16
    offsets: tuple[int, ...]
    fingerprint: str
    mean: float
    std: float
    defects: tuple[tuple[str, str], ...]


def read_store(folder: Path) -> StoreFiles | None:
    """Open a store and check its files; None without a store of this version.

    Raises:
        StoreDamageError: the store is damaged.
    """
    try:
        index = _read_index(folder / INDEX)
        if index is None:
            return None
        _check_samples(folder / SAMPLES, index)
        empty = np.zeros(0, np.int16)
        size = index["offsets"][-1]
        return StoreFiles(
            tuple(index["kept"]),
            np.memmap(folder / SAMPLES, np.int16, mode="r") if size else empty,
            tuple(index["offsets"]),
            index["fingerprint"],
            index["mean"],
            index["std"],
            tuple((defect["path"], defect["reason"]) for defect in index["defects"]),
        )
    except OSError as error:
        raise StoreDamageError(f"{error.filename}: {error.strerror}") from error


def drop_store(folder: Path) -> None:
    """Let a store be none any more, for every process: the next one that opens it builds it."""
    with suppress(OSError):
        (folder / INDEX).unlink()


def _read_index(path: Path) -> dict[str, Any] | None:
    """Read index.json; None if it is missing or of another version."""
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise StoreDamageError(f"{INDEX} is no JSON") from error
    if not isinstance(index, dict) or not index:
        raise StoreDamageError(f"{INDEX} is empty")
    if (index.get("format"), index.get("decoder")) != (FORMAT, DECODER):
        return None
    if index.pop("hash", None) != _hash(index):
        raise StoreDamageError(f"{INDEX} has another hash than when it was written")
    return index


def _check_samples(path: Path, index: dict[str, Any]) -> None:
    size, expected = path.stat().st_size, 2 * index["offsets"][-1]
    if size != expected:
        raise StoreDamageError(f"{SAMPLES} has {size} bytes instead of {expected}")
    blocks = index["blocks"]
    chosen = {0, len(blocks) - 1} if blocks else set()
    chosen |= set(random.Random().sample(range(len(blocks)), min(CHECKED_BLOCKS, len(blocks))))
    with path.open("rb") as file:
        for number in sorted(chosen):
            file.seek(number * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != blocks[number]:
                raise StoreDamageError(f"{SAMPLES} has other samples than when it was written")


def _hash(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


class StoreWriter:
    """Writer of decoded clips and of their `index.json`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.kept: list[int] = []
        self.offsets = [0]
        self.defects: list[dict[str, str]] = []
        self.digest = hashlib.sha256()
        self.sum = self.sum_of_squares = 0
        self.blocks: list[int] = []
        self.checksum = self.filled = 0

    def add(self, index: int, clip: Clip, decoded: Int16 | str) -> None:
        """Append the samples (L,) of a clip, or note the reason why it has none."""
        if isinstance(decoded, str):
            self.defects.append({"path": str(clip.path), "reason": decoded})
            return
        self.kept.append(index)
        self.offsets.append(self.offsets[-1] + decoded.size)
        self.digest.update(f"{clip.machine}/{clip.split}/{clip.id}/{clip.label}/".encode())
        self.digest.update(f"{clip.name}/{decoded.size}/".encode())
        self.digest.update(known_recording(clip))
        self.digest.update(decoded.data)
        wide = decoded.astype(np.int64)
        self.sum += int(wide.sum())
        self.sum_of_squares += int(np.dot(wide, wide))
        content = decoded.tobytes()
        self._add_to_blocks(content)
        self.file.write(content)

    def _add_to_blocks(self, content: bytes) -> None:
        start = 0
        while start < len(content):
            part = content[start : start + BLOCK - self.filled]
            self.checksum = zlib.crc32(part, self.checksum)
            self.filled += len(part)
            start += len(part)
            if self.filled == BLOCK:
                self._end_block()

    def _end_block(self) -> None:
        self.blocks.append(self.checksum)
        self.checksum = self.filled = 0

    def finish(self, folder: Path) -> None:
        """Write `index.json`; all files are on the disk afterwards, not in its cache alone."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if self.filled:
            self._end_block()
        count = max(1, self.offsets[-1])
        # In integers, so that cancellation cannot make the variance negative.
        variance = count * self.sum_of_squares - self.sum**2
        index = {
            "format": FORMAT,
            "decoder": DECODER,
            "kept": self.kept,
            "offsets": self.offsets,
            "fingerprint": self.digest.hexdigest(),
            "mean": self.sum / count,
            "std": math.sqrt(variance) / count,
            "defects": self.defects,
            "blocks": self.blocks,
        }
        write_text(folder / INDEX, json.dumps({**index, "hash": _hash(index)}))
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder through to the disk, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def known_recording(clip: Clip) -> bytes:
    """Return the recording that a clip is cut from: parts of a trial depend on it."""
    return b"" if clip.recording in ("", clip.name) else f"{clip.recording}/".encode()
