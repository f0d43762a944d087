"""Growth of a trial's cost with the size of the data set: time per clip, and memory.

    python analysis/growth.py --out DIR                    # 13 GB, the training clips of DCASE 2021
    python analysis/growth.py --out DIR --gigabytes 1      # minutes

It writes a store of each machine type, of noise, once, and opens growing parts of them, each in a
process of its own. In turns, so that a disturbance of the machine meets all sizes, the processes
train short epochs of a fixed number of batches, drawn over all clips; then they cut the crops of
whole epochs, from the disk and from the system's cache. Where nothing grows but the number of
clips, the time per clip is the same at each size, and anonymous memory as well; resident memory
also counts pages of the store, which the system may take back.

Prints a table, writes growth.csv into --out, and says how far the largest size is from the
prediction of the smaller ones. The stores are removed at the end.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import mean, median
from typing import Any, Self

from growth_parts.stores import CLIP_BYTES, clips_of, fill_cache, write_stores
from tabulate import tabulate

from raysearch.config import MACHINES

Row = dict[str, float]
Rounds = Sequence[Sequence[float]]
"""Times per clip: rounds of the sizes, the largest last."""

PARTS = (1 / 16, 1 / 4, 1 / 2, 1.0)
"""Sizes that are measured, as parts of the largest."""

ROUNDS = 7
"""Times that each size is measured."""

LIMIT = 0.1
"""Largest distance of a time from its prediction."""

MEMORY = 3 * 1024
"""Largest anonymous memory of a trial in MiB."""


def main() -> None:
    """Write the stores, measure every size, and print what it comes to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--gigabytes", type=float, default=13.0, help="of the largest size")
    parser.add_argument("--scratch", type=Path, help="folder of the stores; default: temporary")
    parser.add_argument("--batches", type=int, default=8, help="of a short epoch, of 32 clips")
    parser.add_argument("--tiny", action="store_true", help="a small network")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    backbone = "test_efficientnet" if arguments.tiny else "tf_efficientnet_b0"
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder, start = Path(name) / "stores", time.monotonic()
        write_stores(folder, clips_of(arguments.gigabytes))
        print(f"stores written in {time.monotonic() - start:.0f} s", flush=True)
        sizes = dict.fromkeys(clips_of(arguments.gigabytes * part) for part in PARTS)
        with ExitStack() as stack:
            trials = [
                stack.enter_context(
                    TrialProcess(
                        folder, clips, arguments.batches, backbone, Path(name) / f"{clips}.log"
                    )
                )
                for clips in sizes
            ]
            rows, training, feeding = measure(trials, folder)
    write(arguments.out / "growth.csv", rows)
    table = [[f"{value:.4g}" for value in row.values()] for row in rows]
    headers = [name.replace("_", " ") for name in rows[0]]
    print(tabulate(table, headers, disable_numparse=True))
    print(*conclude(rows, training, feeding), sep="\n")


class TrialProcess:
    """A training at one size, in a process of its own.

    Attributes:
        clips: of all machine types.
    """

    def __init__(self, folder: Path, clips: int, batches: int, backbone: str, log: Path) -> None:
        """Start the process.

        Args:
            folder: of the stores.
            clips: of each machine type.
            batches: of a short epoch.
            backbone: of the encoder.
            log: file of its errors.
        """
        self.clips, self.log = clips * len(MACHINES), log
        call = [sys.executable, "-m", "growth_parts.trial"]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [*call, str(folder), str(clips), str(batches), backbone],
                cwd=Path(__file__).parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, question: str) -> Any:
        """Return the answer to a question of `growth_parts.trial`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            sys.exit(f"growth.py: {question}, {self.clips} clips: {self.log.read_text()[-3000:]}")
        return json.loads(line)

    def __enter__(self) -> Self:
        """Wait until the training is warm."""
        self.ask("opening")
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def measure(trials: Sequence[TrialProcess], folder: Path) -> tuple[list[Row], Rounds, Rounds]:
    """Measure all sizes.

    Args:
        trials: a training at each size, the largest last.
        folder: of the stores.

    Returns:
        A row of each size, and all rounds of trainings and of feeding, in ms per clip.
    """
    training = in_rounds(trials, "train")
    # Feeding whole epochs adds the pages of all crops to the memory of a trial.
    memory = [trial.ask("memory") for trial in trials]
    cold = [trial.ask("feed cold") for trial in trials]
    fill_cache(folder)
    feeding = in_rounds(trials, "feed warm")
    rows = [
        {
            "gigabytes": trial.clips * CLIP_BYTES / 1e9,
            "clips": trial.clips,
            "open_s": trial.ask("opening"),
            "train_ms_per_clip": median(times[k] for times in training),
            **cold[k],
            "feed_ms_per_clip": median(times[k] for times in feeding),
            "anonymous_mib": memory[k]["RssAnon"],
            "resident_mib": memory[k]["VmRSS"],
            "resident_after_feeding_mib": trial.ask("memory")["VmRSS"],
        }
        for k, trial in enumerate(trials)
    ]
    return rows, training, feeding


def in_rounds(trials: Sequence[TrialProcess], question: str) -> Rounds:
    """Collect the answers of all sizes to a question in turns, several times."""
    rounds = []
    for number in range(1, ROUNDS + 1):
        rounds.append([trial.ask(question) for trial in trials])
        print(f"{question}: {number} of {ROUNDS} rounds", flush=True)
    return rounds


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows of all sizes."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def conclude(rows: Sequence[Row], training: Rounds, feeding: Rounds) -> list[str]:
    """Return what the sizes come to, a line each."""
    lines = []
    for name, rounds in (("training", training), ("feeding", feeding)):
        apart = deviation(rounds)
        lines.append(
            f"{name}, largest size: {apart:+.1%} from the prediction of the smaller ones "
            f"(at most {LIMIT:.0%}: {_verdict(abs(apart) <= LIMIT)})"
        )
    peak = max(row["anonymous_mib"] for row in rows)
    growth = rows[-1]["anonymous_mib"] - rows[0]["anonymous_mib"]
    lines.append(
        f"anonymous memory: {peak:.0f} MiB at most, {growth:+.0f} MiB from the smallest to the "
        f"largest size (at most {MEMORY} MiB: {_verdict(peak <= MEMORY)})"
    )
    return lines


def deviation(rounds: Rounds) -> float:
    """Return the relative distance of the largest size from the mean of the smaller ones.

    The median over rounds: neither a disturbed round counts, nor a slow hour.
    """
    pairs = [(times[-1], times[:-1]) for times in rounds]
    return median(largest / mean(smaller) - 1 if smaller else 0.0 for largest, smaller in pairs)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "not met"


if __name__ == "__main__":
    main()
