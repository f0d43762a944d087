"""Synthetic data set in the layout of DCASE 2021 Task 2, for a search without a download.

Every clip is drawn from its own generator, derived from (seed, machine, ID, kind, number) alone: a
larger data set holds the clips of a smaller one unchanged.
"""

import math
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.config import MACHINES
from raysearch.data.synthetic.plant import (
    DIFFICULTY,
    FAULTS,
    HEALTHY,
    PRODUCT_IDS,
    Conditions,
    product,
)
from raysearch.data.synthetic.sounds import SAMPLE_RATE, record
from raysearch.errors import UserError

_DEV_IDS = frozenset((0, 1, 2))  # the others are under eval_data, their test clips unlabelled
_TARGET_CLIPS = 3  # target-domain training clips per ID, as in the real set
_TARGET_LOAD = 1.6  # beyond the loads of the source domain
_TARGET_SNR_DB = -3.0  # relative to the source domain
_LOADS = 3  # classes of load in the source domain, named in the attributes
_WRITERS = 8  # more threads would wait for the interpreter
_UNFINISHED = ".unfinished-demo"  # in the root; holds the files until all are written


class Kind(IntEnum):
    """Kind of a clip. The numbers seed generators: a change changes every demo data set."""

    SOURCE_TRAIN = 0
    TARGET_TRAIN = 1
    NORMAL = 2
    ANOMALY = 3
    ORDER = 4  # not a clip: the order of an unlabelled pair


@dataclass(frozen=True)
class DemoSize:
    """Number and length of the clips of a data set.

    Attributes:
        train_clips: source-domain training clips per ID; 3 of the target domain are added.
        test_clips: test clips per ID and label.
        seconds: length of a clip, s.
    """

    train_clips: int = 40
    test_clips: int = 20
    seconds: float = 4.0


@dataclass(frozen=True)
class Clip:
    """A clip of the plan: its content and its path."""

    machine: str
    product_id: int
    kind: Kind
    number: int  # among the clips of its kind; not the number in an unlabelled name
    path: Path  # relative to the root

    def generator(self, seed: int) -> np.random.Generator:
        """Return the random generator of this clip."""
        return _generator(seed, self.machine, self.product_id, self.kind, self.number)


def _generator(
    seed: int, machine: str, product_id: int, kind: Kind, number: int
) -> np.random.Generator:
    # Unlike hash(), crc32 is the same in every process.
    return np.random.default_rng([seed, zlib.crc32(machine.encode()), product_id, kind, number])


def _training_clips(machine: str, product_id: int, count: int) -> list[Clip]:
    """List training clips with attributes: `count` of the source domain, 3 of the target."""
    split = "dev_data" if product_id in _DEV_IDS else "eval_data"
    folder = Path(split, machine, "train")
    stem = f"section_{product_id:02d}"
    source = [
        Clip(machine, product_id, Kind.SOURCE_TRAIN, n, folder / name)
        for n in range(count)
        for name in [f"{stem}_source_train_normal_{n:04d}_load_{n % _LOADS}_ambient.wav"]
    ]
    target = [
        Clip(machine, product_id, Kind.TARGET_TRAIN, n, folder / name)
        for n in range(_TARGET_CLIPS)
        for name in [f"{stem}_target_train_normal_{n:04d}_load_{_LOADS}_hall.wav"]
    ]
    return source + target


def _labelled_clips(machine: str, product_id: int, count: int) -> list[Clip]:
    """List the test clips of a development ID: `count` normal, `count` anomalous."""
    folder = Path("dev_data", machine, "source_test")
    return [
        Clip(machine, product_id, kind, n, folder / name)
        for kind, label in ((Kind.NORMAL, "normal"), (Kind.ANOMALY, "anomaly"))
        for n in range(count)
        for name in [f"section_{product_id:02d}_source_test_{label}_{n:04d}.wav"]
    ]


def _unlabelled_clips(machine: str, product_id: int, count: int, seed: int) -> list[Clip]:
    """List the test clips of an evaluation ID: `count` pairs, each in random order of labels.

    The shuffle stays within pairs, so that `count` does not change the clip of a name.
    """
    folder = Path("eval_data", machine, "source_test")
    clips = []
    for pair in range(count):
        order = [Kind.NORMAL, Kind.ANOMALY]
        if _generator(seed, machine, product_id, Kind.ORDER, pair).random() < 0.5:
            order.reverse()
        for position, kind in enumerate(order):
            name = f"section_{product_id:02d}_source_test_{2 * pair + position:04d}.wav"
            clips.append(Clip(machine, product_id, kind, pair, folder / name))
    return clips


def plan(machine: str, *, train_clips: int, test_clips: int, seed: int) -> list[Clip]:
    """List the clips of a machine type over all its IDs, by ID, then training before test."""
    clips = []
    for product_id in PRODUCT_IDS:
        clips += _training_clips(machine, product_id, train_clips)
        if product_id in _DEV_IDS:
            clips += _labelled_clips(machine, product_id, test_clips)
        else:
            clips += _unlabelled_clips(machine, product_id, test_clips, seed)
    return clips


def synthesise(clip: Clip, *, size: int, snr_db: float, seed: int) -> NDArray[np.int16]:
    """Return the int16 samples (size,) at 16 kHz of a clip of the plan.

    Faults take turns, so that every ID has each of them equally often; their strength is drawn.
    """
    rng = clip.generator(seed)
    fault = HEALTHY
    if clip.kind is Kind.ANOMALY:
        faults = list(FAULTS[clip.machine].values())
        fault = faults[clip.number % len(faults)].scaled(rng.uniform(*DIFFICULTY.strength))
    low, high = DIFFICULTY.load
    load = low + (high - low) * (clip.number % _LOADS + rng.random()) / _LOADS
    if clip.kind is Kind.TARGET_TRAIN:
        load, snr_db = _TARGET_LOAD, snr_db + _TARGET_SNR_DB
    built = product(clip.machine, clip.product_id)
    return record(clip.machine, built, fault, Conditions(load, snr_db), size=size, rng=rng)


def _write_ground_truth(root: Path, machine: str, clips: Sequence[Clip]) -> None:
    """Write the labels of the test clips under eval_data: `name.wav,1` for each anomalous clip."""
    folder = root / "eval_data" / "ground_truth"
    folder.mkdir(parents=True, exist_ok=True)
    for product_id in sorted(set(PRODUCT_IDS) - _DEV_IDS):
        test = [c for c in clips if c.product_id == product_id and c.path.match("source_test/*")]
        lines = [f"{c.path.name},{int(c.kind is Kind.ANOMALY)}\n" for c in test]
        name = f"ground_truth_{machine}_section_{product_id:02d}_source_test.csv"
        (folder / name).write_text("".join(lines), newline="")


def _check(root: Path, size: DemoSize, machines: Sequence[str], snr_db: float, seed: int) -> None:
    """Check the arguments of `write_demo` before a file is written.

    Raises:
        UserError: an unknown machine, a size that is not positive, a folder already in use.
    """
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is a file; name a folder for the demo data")
    if not machines:
        raise UserError(f"machines: none given; known: {', '.join(MACHINES)}")
    for machine in machines:
        if machine not in MACHINES:
            near = get_close_matches(machine, MACHINES, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(f"unknown machine '{machine}'{hint}; known: {', '.join(MACHINES)}")
        for split in ("dev_data", "eval_data"):
            if (root / split / machine).exists():
                raise UserError(
                    f"{root / split / machine}: exists already; "
                    "delete it or name another folder for the demo data"
                )
    for name, value in asdict(size).items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name}: {value} is not a positive number")
    if not math.isfinite(snr_db):
        raise UserError(f"snr_db: {snr_db} is not a number of dB")
    if seed < 0:
        raise UserError(f"seed: {seed} is negative; give 0 or more")


def _write_clips(
    clips: Sequence[Clip],
    write: Callable[[Clip], None],
    on_clip: Callable[[int, int], None] | None,
) -> None:
    """Write clips concurrently; the first failure or Ctrl-C cancels those not begun."""
    # Threads, not processes: NumPy releases the interpreter lock, and the caller needs neither a
    # guard of its __main__ nor care about a fork beside its own threads.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _WRITERS)) as pool:
        futures = [pool.submit(write, clip) for clip in clips]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                if on_clip is not None:
                    on_clip(number, len(clips))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_demo(
    root: Path,
    size: DemoSize = DemoSize(),
    *,
    machines: Sequence[str] = MACHINES,
    snr_db: float = 6.0,
    seed: int = 0,
    on_clip: Callable[[int, int], None] | None = None,
) -> int:
    """Write a synthetic data set in the layout of DCASE 2021 Task 2.

    IDs 0-2 go to `root/dev_data/<machine>/{train,source_test}`, IDs 3-5 to
    `root/eval_data/<machine>/{train,source_test}` with the labels of their test clips in
    `root/eval_data/ground_truth/`. Files are 16 kHz mono int16. They are written to a temporary
    folder and moved at the end, so an interrupted call leaves no data set.

    Args:
        root: folder of the data set, created if missing.
        size: number and length of the clips.
        machines: machine types to write, of `MACHINES`.
        snr_db: machine over factory noise, dB, on average.
        seed: seed of all draws; the same seed gives the same bytes.
        on_clip: called with (clips written, clips in all) after each clip.

    Returns:
        The number of clips written.

    Raises:
        UserError: an unknown machine, a size that is not positive, a folder already in use.
    """
    machines = tuple(dict.fromkeys(machines))
    _check(root, size, machines, snr_db, seed)
    plans = {
        machine: plan(machine, train_clips=size.train_clips, test_clips=size.test_clips, seed=seed)
        for machine in machines
    }
    clips = [clip for planned in plans.values() for clip in planned]
    samples = max(1, round(size.seconds * SAMPLE_RATE))
    staging = root / _UNFINISHED
    shutil.rmtree(staging, ignore_errors=True)
    for folder in {clip.path.parent for clip in clips}:
        (staging / folder).mkdir(parents=True)

    def write(clip: Clip) -> None:
        pcm = synthesise(clip, size=samples, snr_db=snr_db, seed=seed)
        soundfile.write(staging / clip.path, pcm, SAMPLE_RATE, subtype="PCM_16")

    _write_clips(clips, write, on_clip)
    for machine, planned in plans.items():
        for split in ("dev_data", "eval_data"):
            (root / split).mkdir(exist_ok=True)
            (staging / split / machine).replace(root / split / machine)
        _write_ground_truth(root, machine, planned)
    shutil.rmtree(staging)
    return len(clips)
