"""A synthetic data set in the layout of DCASE 2021 Task 2, to try a search without a download.

Every clip is drawn from its own generator, derived from (seed, machine, ID, kind, number) alone: a
larger data set holds the clips of a smaller one unchanged.
"""

import math
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.config import MACHINES
from raysearch.data.synthetic.plant import DIFFICULTY, FAULTS, HEALTHY, PRODUCT_IDS, product
from raysearch.data.synthetic.sounds import SAMPLE_RATE, record
from raysearch.errors import UserError

_DEV_IDS = frozenset((0, 1, 2))  # the others are under eval_data, their test clips unlabelled
_TARGET_CLIPS = 3  # target-domain training clips per ID, as in the real set
_TARGET_LOAD = 1.6  # a load that the source domain never sees
_TARGET_SNR_DB = -3.0  # and a louder hall
_LOADS = 3  # classes of load in the source domain, named in the attributes
_WRITERS = 8  # more threads wait for the interpreter
_UNFINISHED = ".unfinished-demo"  # in the root; what is moved out of it is complete


class Kind(IntEnum):
    """What a clip is. The numbers seed generators: changing one changes every demo data set."""

    SOURCE_TRAIN = 0
    TARGET_TRAIN = 1
    NORMAL = 2
    ANOMALY = 3
    ORDER = 4  # no clip: which of an unlabelled pair comes first


@dataclass(frozen=True)
class Clip:
    """One clip of the plan: what is recorded, and where it goes."""

    machine: str
    product_id: int
    kind: Kind
    number: int  # among the clips of its kind; not the number in an unlabelled name
    path: Path  # relative to the root

    def generator(self, seed: int) -> np.random.Generator:
        """Return the generator of everything random in this clip."""
        return _generator(seed, self.machine, self.product_id, self.kind, self.number)


def _generator(
    seed: int, machine: str, product_id: int, kind: Kind, number: int
) -> np.random.Generator:
    # Unlike hash(), crc32 is the same in every process.
    return np.random.default_rng([seed, zlib.crc32(machine.encode()), product_id, kind, number])


def _training_clips(machine: str, product_id: int, count: int) -> list[Clip]:
    """Normal clips, attributes in their names: `count` of the source domain, 3 of the target."""
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
    """Test clips of a development ID: `count` normal, `count` anomalous."""
    folder = Path("dev_data", machine, "source_test")
    return [
        Clip(machine, product_id, kind, n, folder / name)
        for kind, label in ((Kind.NORMAL, "normal"), (Kind.ANOMALY, "anomaly"))
        for n in range(count)
        for name in [f"section_{product_id:02d}_source_test_{label}_{n:04d}.wav"]
    ]


def _unlabelled_clips(machine: str, product_id: int, count: int, seed: int) -> list[Clip]:
    """Test clips of an evaluation ID: `count` pairs, in each a coin says which label is first.

    Shuffling within pairs only keeps a name's clip the same whatever `count` is.
    """
    folder = Path("eval_data", machine, "source_test")
    clips = []
    for pair in range(count):
        order = [Kind.NORMAL, Kind.ANOMALY]
        if _generator(seed, machine, product_id, Kind.ORDER, pair).random() < 0.5:
            order.reverse()
        for place, kind in enumerate(order):
            name = f"section_{product_id:02d}_source_test_{2 * pair + place:04d}.wav"
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
    """Record a clip of the plan: int16 samples (size,) at 16 kHz.

    Faults take turns, so that every ID meets each of them equally often; their strength is drawn.
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
    return record(clip.machine, built, fault, load=load, size=size, snr_db=snr_db, rng=rng)


def _write_ground_truth(root: Path, machine: str, clips: Sequence[Clip]) -> None:
    """Write what the names under eval_data leave out: `name.wav,1` for each anomalous clip."""
    folder = root / "eval_data" / "ground_truth"
    folder.mkdir(parents=True, exist_ok=True)
    for product_id in sorted(set(PRODUCT_IDS) - _DEV_IDS):
        test = [c for c in clips if c.product_id == product_id and c.path.match("source_test/*")]
        lines = [f"{c.path.name},{int(c.kind is Kind.ANOMALY)}\n" for c in test]
        name = f"ground_truth_{machine}_section_{product_id:02d}_source_test.csv"
        (folder / name).write_text("".join(lines), newline="")


def _check(
    root: Path, machines: Sequence[str], sizes: dict[str, float], snr_db: float, seed: int
) -> None:
    """Refuse what cannot be written, before anything is.

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
    for name, value in sizes.items():
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
    """Write clips side by side; the first failure, or Ctrl-C, drops those not begun."""
    # Threads, not processes: the work is NumPy's, which lets go of the interpreter, and a caller
    # need not guard its __main__ nor fear a fork beside its own threads.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _WRITERS)) as pool:
        futures = [pool.submit(write, clip) for clip in clips]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if on_clip is not None:
                    on_clip(done, len(clips))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_demo(
    root: Path,
    *,
    machines: Sequence[str] = MACHINES,
    train_clips: int = 40,
    test_clips: int = 20,
    seconds: float = 4.0,
    snr_db: float = 6.0,
    seed: int = 0,
    on_clip: Callable[[int, int], None] | None = None,
) -> int:
    """Write a synthetic data set in the layout of DCASE 2021 Task 2.

    IDs 0-2 go to `root/dev_data/<machine>/{train,source_test}`, IDs 3-5 to
    `root/eval_data/<machine>/{train,source_test}` with the labels of their test clips in
    `root/eval_data/ground_truth/`. Files are 16 kHz mono int16. All is written aside and moved into
    place at the end, so an interrupted call leaves nothing that looks like a data set.

    Args:
        root: folder of the data set, created if missing.
        machines: machine types to write, of `MACHINES`.
        train_clips: source-domain training clips per ID; 3 of the target domain are added.
        test_clips: test clips per ID and label.
        seconds: length of a clip, s.
        snr_db: machine over factory noise, dB, on average.
        seed: the same seed gives the same bytes.
        on_clip: called with (clips written, clips in all) after each clip.

    Returns:
        The number of clips written.

    Raises:
        UserError: an unknown machine, a size that is not positive, a folder already in use.
    """
    machines = tuple(dict.fromkeys(machines))
    sizes = {"train_clips": train_clips, "test_clips": test_clips, "seconds": seconds}
    _check(root, machines, sizes, snr_db, seed)
    plans = {
        machine: plan(machine, train_clips=train_clips, test_clips=test_clips, seed=seed)
        for machine in machines
    }
    clips = [clip for planned in plans.values() for clip in planned]
    size = max(1, round(seconds * SAMPLE_RATE))
    aside = root / _UNFINISHED
    shutil.rmtree(aside, ignore_errors=True)
    for folder in {clip.path.parent for clip in clips}:
        (aside / folder).mkdir(parents=True)

    def write(clip: Clip) -> None:
        samples = synthesise(clip, size=size, snr_db=snr_db, seed=seed)
        soundfile.write(aside / clip.path, samples, SAMPLE_RATE, subtype="PCM_16")

    _write_clips(clips, write, on_clip)
    for machine, planned in plans.items():
        for split in ("dev_data", "eval_data"):
            (root / split).mkdir(exist_ok=True)
            (aside / split / machine).replace(root / split / machine)
        _write_ground_truth(root, machine, planned)
    shutil.rmtree(aside)
    return len(clips)
