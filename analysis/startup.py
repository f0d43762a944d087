"""Times of `raysearch run` until the first epoch, by process, and of other commands.

    python analysis/startup.py                  # about 5 minutes on 2 cores
    python analysis/startup.py --runs 1         # a short version

It measures, as medians of several runs in alternation,

- CPU and wall seconds of every process of `raysearch run` until its first trial has finished an
  epoch of a tiny network: driver, trial process, Ray's processes;
- the same for a plain script (startup_parts/plain.py): Ray Tune, OptunaSearch, torch;
- imports of driver and trial process, by library (`python -X importtime`);
- CPU and wall seconds of `status`, `report`, `score`, `export`, `--help`, `--version` and of a
  mistyped path.

Writes startup.csv into --out, and prints the tables.
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

from raysearch.data.synthetic.demo import DemoSize, write_demo

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
    """A figure: medians over runs, in s."""

    measure: str
    part: str
    cpu: float
    wall: float


def main() -> None:
    """Measure everything, write the figures and print the tables."""
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
        prepare(folder)
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
        shown = [row for row in rows if row.measure == measure]
        table = [(row.part, f"{row.cpu:.2f}", f"{row.wall:.2f}") for row in shown]
        print(tabulate(table, ("", "CPU s", "wall s"), disable_numparse=True))
    print(f"\n{verdict(rows)}")


def prepare(folder: Path) -> None:
    """Write recordings, a space of long trials, and a finished run of short trials."""
    machines = ("valve", "fan", "pump")
    write_demo(folder / "data", DemoSize(12, 6, 3.0), machines=machines)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    run = [*RUN, "--epochs", "2", "--name", "finished"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)


def first_epochs(folder: Path, runs: int) -> list[Row]:
    """Measure raysearch and the plain script, in alternation, until the end of a first epoch."""
    begin = [*RUN, "--concurrent", "1", "--name"]
    runs_of: dict[str, list[tuple[list[Part], float]]] = {}
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
            runs_of.setdefault(measure, []).append(watch(command, folder, pattern))
    return [row for measure, parts in runs_of.items() for row in summary(measure, parts)]


def summary(measure: str, runs: Sequence[tuple[Sequence[Part], float]]) -> list[Row]:
    """Return the medians over runs: of each part, of driver and trials together, and of all.

    Args:
        measure: name of the measurement.
        runs: parts and wall seconds of each run.
    """
    title = f"{measure}, until the first epoch; for a part, wall is when it began"
    costs = [{part.kind: part for part in parts} for parts, _ in runs]
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
    wall = median(seconds for _, seconds in runs)
    for name, summed in (
        ("driver and trial", ("driver", "trial processes")),
        ("all", tuple(kinds)),
    ):
        sums = [sum(p.cpu for kind, p in parts.items() if kind in summed) for parts in costs]
        rows.append(Row(title, name, median(sums), wall))
    return rows


def imports() -> list[Row]:
    """Measure the imports of driver and trial process by library; leave out those below 0.1 s."""
    rows = []
    for name, program in (("driver", DRIVER), ("trial process", TRIAL)):
        ended = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True
        )
        seconds = by_library(ended.stderr)
        listed = [(library, s) for library, s in seconds.items() if s >= 0.1]
        rows += [Row(f"imports of the {name}", library, s, s) for library, s in listed]
    return rows


def by_library(output: str) -> dict[str, float]:
    """Sum the output of `-X importtime`: library -> seconds of its modules, in falling order."""
    micros = Counter[str]()
    for match in re.finditer(r"import time:\s+(\d+) \|\s+\d+ \| +([\w]+)", output):
        micros[match[2]] += int(match[1])
    return {library: n / 1e6 for library, n in micros.most_common()}


def commands(folder: Path, runs: int) -> list[Row]:
    """Measure commands on a finished run, and commands with mistyped paths."""
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
        cpu, wall = (median(column) for column in zip(*times, strict=True))
        rows.append(Row("commands", command.replace(str(clip), "CLIP"), cpu, wall))
    return rows


def timed(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command and return its CPU and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, cwd=folder, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - start


def verdict(rows: Sequence[Row]) -> str:
    """Return the wall times as multiples of the plain script's, in a sentence."""
    wall = {row.measure.partition(",")[0]: row.wall for row in rows if row.part == "all"}
    plain = wall.pop("plain")
    ratios = [f"{name} {seconds / plain:.2f}" for name, seconds in wall.items()]
    return (
        f"Until the first epoch, in multiples of the plain script's wall time: {', '.join(ratios)}"
    )


if __name__ == "__main__":
    main()
