"""Synthetic stores of any size, written once and opened in parts.

The samples are noise: neither the time of a step nor the memory of a trial depends on them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from raysearch.config import MACHINES
from raysearch.data.dataset import TrialData
from raysearch.data.index import Clip
from raysearch.data.store import Store, empty_store
from raysearch.data.store_files import SAMPLES, StoreWriter, read_store

TARGET, IDS = "valve", ("0", "1", "2", "3", "4", "5")
RATE, SECONDS = 16000, 10
LENGTH = RATE * SECONDS
"""Samples of a clip, as in DCASE 2021 Task 2."""

CLIP_BYTES = 2 * LENGTH


def clips_of(gigabytes: float) -> int:
    """Return the clips of each machine type, as many of each ID, for a size of all stores."""
    each_id = round(gigabytes * 1e9 / CLIP_BYTES / len(MACHINES) / len(IDS))
    return max(2, each_id) * len(IDS)


def write_stores(folder: Path, clips: int) -> None:
    """Write a store of each machine type as raysearch writes it after decoding.

    Args:
        folder: of the stores, which is made.
        clips: of each machine type; product IDs take turns.
    """
    noise = np.random.default_rng(0).normal(0.0, 1000.0, 4 * LENGTH).astype(np.int16)
    for machine in MACHINES:
        (folder / machine).mkdir(parents=True)
        with (folder / machine / SAMPLES).open("wb") as file:
            writer = StoreWriter(file)
            for number, clip in enumerate(_clips(machine, clips)):
                start = number * 997 % (3 * LENGTH)
                writer.add(number, clip, noise[start : start + LENGTH])
            writer.finish(folder / machine)


def open_stores(folder: Path, clips: int) -> TrialData:
    """Open the first clips of each machine type."""
    target, *others = (_open(folder, m, clips) for m in (TARGET, *sorted({*MACHINES} - {TARGET})))
    return TrialData(TARGET, IDS, target, tuple(others), empty_store(), f"growth-{clips}")


def drop_cached(folder: Path) -> None:
    """Drop the stores from the system's cache of files, where the system can."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.glob(f"*/{SAMPLES}"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _open(folder: Path, machine: str, clips: int) -> Store:
    files = read_store(folder / machine)
    assert files is not None, folder
    offsets = np.array(files.offsets[: clips + 1], np.int64)
    return Store(
        tuple(_clips(machine, clips)),
        files.samples[: offsets[-1]],
        offsets,
        f"{files.fingerprint}-{clips}",
        files.mean,
        files.std,
        (),
    )


def _clips(machine: str, count: int) -> Iterator[Clip]:
    for number in range(count):
        identity = IDS[number % len(IDS)]
        path = Path(machine) / f"section_{int(identity):02d}_source_train_normal_{number:05d}.wav"
        yield Clip(machine, identity, "train", "source", None, path)


def fill_cache(folder: Path) -> None:
    """Read the stores, so that the system has them in its cache of files where they fit."""
    for path in folder.glob(f"*/{SAMPLES}"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
