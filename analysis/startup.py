"""Where the time goes from `raysearch run` to the first epoch, and what other commands cost.

    python analysis/startup.py                  # about 5 minutes on 2 cores
    python analysis/startup.py --runs 1         # for a look

It measures, each time as the median of several runs in turn,

- CPU and wall seconds of every process of `raysearch run` until its first trial has finished an
  epoch of a tiny network: driver, trial process, Ray's parts;
- the same of a plain script (startup_parts/plain.py): Ray Tune, OptunaSearch, torch;
- imports of driver and trial process, by library (`python -X importtime`);
- CPU and wall seconds of `status`, `report`, `score`, `export`, `--help`, `--version` and of a
  mistyped path.

Writes startup.csv into --out, and the tables to the terminal.
"""

import argparse
import csv
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

import yaml
from startup_parts.watch import Part, watch
from tabulate import tabulate

from raysearch.data.synthetic.demo import write_demo

COMMAND = str(Path(sys.executable).with_name("raysearch"))
RUN = (COMMAND, "run", "--machine", "valve", "--space", "space.yaml")
PLAIN = Path(__file__).with_name("startup_parts") / "plain.py"
SPACE = {
    "search": {"lr": 1e-3, "batch_size": 16, "lambda": 1.0, "inlier": {"gmm": [1], "none": []}},
    "fixed": {
        **{"backbone": "test_efficientnet", "pretrained": False, "epochs": 100},
        **{"n_fft": 512, "hop": 512, "n_mels": 32},
    },
    "strategy": {"trials": 1, "scheduler": "none", "finalists": "none"},
}
DRIVER = (
    "import raysearch.cli.main, raysearch.pipeline.run\n"
    "import raysearch.search.sampler, raysearch.backend.tune"
)
TRIAL = (
    "import ray, raysearch.backend.trainable, raysearch.backend.worker, raysearch.model.backbone\n"
    "import torch; torch.optim.AdamW([torch.zeros(1)])"
)


@dataclass(frozen=True)
class Row:
    """One figure: a median over runs, in s."""

    measure: str
    part: str
    cpu: float
    wall: float


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement")
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RAYSEARCH_CACHE"] = str(folder / "cache")
        furnish(folder)
        rows = [
            *first_epochs(folder, arguments.runs),
            *imports(),
            *commands(folder, arguments.runs),
        ]
    with (arguments.out / "startup.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("measure", "part", "cpu_s", "wall_s"))
        writer.writerows(map(astuple, rows))
    for measure in dict.fromkeys(row.measure for row in rows):
        print(f"\n{measure}")
        own = [row for row in rows if row.measure == measure]
        table = [(row.part, f"{row.cpu:.2f}", f"{row.wall:.2f}") for row in own]
        print(tabulate(table, ("", "CPU s", "wall s"), disable_numparse=True))
    print(f"\n{verdict(rows)}")


def furnish(folder: Path) -> None:
    """Write recordings, a space of long trials, and a finished run of short ones."""
    machines = ("valve", "fan", "pump")
    write_demo(folder / "data", machines=machines, train_clips=12, test_clips=6, seconds=3.0)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    run = [*RUN, "--epochs", "2", "--name", "finished"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)


def first_epochs(folder: Path, runs: int) -> list[Row]:
    """Measure raysearch and the plain script, in turn, until their first epochs are over."""
    begin = [*RUN, "--concurrent", "1", "--name"]
    found: dict[str, list[tuple[list[Part], float]]] = {}
    for number in range(runs):
        for measure, command, pattern in (
            ("raysearch run", [*begin, f"run{number}"], f"runs/run{number}/encoders/*/last.*"),
            (
                "raysearch run --no-dashboard",
                [*begin, f"bare{number}", "--no-dashboard"],
                f"runs/bare{number}/encoders/*/last.*",
            ),
            ("plain", [sys.executable, str(PLAIN), str(folder)], "first"),
        ):
            (folder / "first").unlink(missing_ok=True)
            print(f"{measure}, {number + 1} of {runs}", flush=True)
            found.setdefault(measure, []).append(watch(command, folder, pattern))
    return [row for measure, each in found.items() for row in summary(measure, each)]


def summary(measure: str, each: Sequence[tuple[Sequence[Part], float]]) -> list[Row]:
    """Return the medians of some runs: their parts, driver and trials together, and all."""
    title = f"{measure}, until the first epoch; for a part, wall is when it began"
    costs = [{part.kind: part for part in parts} for parts, _ in each]
    kinds = dict.fromkeys(kind for parts in costs for kind in parts)
    rows = [
        Row(
            title,
            kind,
            median(parts[kind].cpu if kind in parts else 0.0 for parts in costs),
            median(parts[kind].begun for parts in costs if kind in parts),
        )
        for kind in kinds
    ]
    wall = median(seconds for _, seconds in each)
    for name, own in (("driver and trial", ("driver", "trial processes")), ("all", tuple(kinds))):
        sums = [sum(p.cpu for kind, p in parts.items() if kind in own) for parts in costs]
        rows.append(Row(title, name, median(sums), wall))
    return rows


def imports() -> list[Row]:
    """Measure the imports of driver and trial process by library, those of a tenth of a second."""
    rows = []
    for name, program in (("driver", DRIVER), ("trial process", TRIAL)):
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True
        )
        own = by_library(told.stderr)
        listed = [(library, s) for library, s in own.items() if s >= 0.1]
        rows += [Row(f"imports of the {name}", library, s, s) for library, s in listed]
    return rows


def by_library(told: str) -> dict[str, float]:
    """Sum up what `-X importtime` told: library -> seconds of its modules, the most first."""
    micros = Counter[str]()
    for match in re.finditer(r"import time:\s+(\d+) \|\s+\d+ \| +([\w]+)", told):
        micros[match[2]] += int(match[1])
    return {library: n / 1e6 for library, n in micros.most_common()}


def commands(folder: Path, runs: int) -> list[Row]:
    """Measure commands on a finished run, and one on a path that is not there."""
    clip = next((folder / "data/eval_data/valve/source_test").glob("*.wav"))
    rows = []
    for command in (
        "--help",
        "--version",
        "status runs/finished",
        "export",
        "report runs/finished",
        f"score runs/finished/detector {clip}",
        "status nowhere",
        "score nowhere x.wav",
        "run --machine valve --data nowhere",
    ):
        times = [timed([COMMAND, *command.split()], folder) for _ in range(runs)]
        cpu, wall = (median(one[k] for one in times) for k in (0, 1))
        rows.append(Row("commands", command.replace(str(clip), "CLIP"), cpu, wall))
    return rows


def timed(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command to its end; return its CPU and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, cwd=folder, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - start


def verdict(rows: Sequence[Row]) -> str:
    """Return the ratio to the plain script in a sentence."""
    wall = {row.measure.partition(",")[0]: row.wall for row in rows if row.part == "all"}
    plain = wall.pop("plain")
    told = [f"{name} {seconds / plain:.2f}" for name, seconds in wall.items()]
    return f"Until the first epoch, in multiples of the plain script's wall time: {', '.join(told)}"


if __name__ == "__main__":
    main()
