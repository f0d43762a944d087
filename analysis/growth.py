"""Growth of a trial's cost with the size of the data set: time per clip, and memory.

    python analysis/growth.py --out DIR                    # 13 GB, the training clips of DCASE 2021
    python analysis/growth.py --out DIR --gigabytes 1      # minutes

It writes a store of each machine type, of noise, once, and opens growing parts of them, each in a
process of its own. Each process trains a short epoch of a fixed number of batches, drawn over all
clips, and cuts the crops of whole epochs: one from the disk, one from the system's cache. Where
nothing grows but the number of clips, the time per clip is the same at each size, and anonymous
memory as well; resident memory also counts pages of the store, which the system may take back.

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
from pathlib import Path
from statistics import mean

from growth_parts.stores import CLIP_BYTES, clips_of, write_stores
from tabulate import tabulate

from raysearch.config import MACHINES

Row = dict[str, float]

PARTS = (1 / 16, 1 / 4, 1 / 2, 1.0)
"""Sizes that are measured, as parts of the largest."""

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
    parser.add_argument("--batches", type=int, default=20, help="of a short epoch, of 32 clips")
    parser.add_argument("--tiny", action="store_true", help="a small network")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    backbone = "test_efficientnet" if arguments.tiny else "tf_efficientnet_b0"
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder, start = Path(name) / "stores", time.monotonic()
        write_stores(folder, clips_of(arguments.gigabytes))
        print(f"stores written in {time.monotonic() - start:.0f} s", flush=True)
        rows: list[Row] = []
        for clips in dict.fromkeys(clips_of(arguments.gigabytes * part) for part in PARTS):
            rows.append(measure(folder, clips, arguments.batches, backbone))
            print(f"{rows[-1]['gigabytes']:.3g} GB measured", flush=True)
            write(arguments.out / "growth.csv", rows)
    table = [[f"{value:.4g}" for value in row.values()] for row in rows]
    headers = [name.replace("_", " ") for name in rows[0]]
    print(tabulate(table, headers, disable_numparse=True))
    print(*conclude(rows), sep="\n")


def measure(folder: Path, clips: int, batches: int, backbone: str) -> Row:
    """Measure one size in a process of its own.

    Args:
        folder: of the stores.
        clips: of each machine type.
        batches: of a short epoch.
        backbone: of the encoder.
    """
    call = [sys.executable, "-m", "growth_parts.trial"]
    call += [str(folder), str(clips), str(batches), backbone]
    done = subprocess.run(call, cwd=Path(__file__).parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(call)} failed:\n{done.stderr[-3000:]}")
    total = clips * len(MACHINES)
    return {
        "gigabytes": total * CLIP_BYTES / 1e9,
        "clips": total,
        **json.loads(done.stdout.splitlines()[-1]),
    }


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows of all sizes."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def conclude(rows: Sequence[Row]) -> list[str]:
    """Return what the sizes come to, a line each."""
    lines = []
    for name, column in (("training", "train_ms_per_clip"), ("feeding", "feed_ms_per_clip")):
        apart = deviation([row[column] for row in rows])
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


def deviation(per_clip: Sequence[float]) -> float:
    """Return the relative distance of the last time per clip from the mean of those before it."""
    *smaller, largest = per_clip
    return largest / mean(smaller) - 1 if smaller else 0.0


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "not met"


if __name__ == "__main__":
    main()
