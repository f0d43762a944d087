"""A plain recipe and raysearch, side by side in one run: speed of every part of a trial.

    python analysis/bench.py --out DIR           # about a quarter of an hour on 2 idle cores
    python analysis/bench.py --gpu --out DIR     # at most 5 minutes on one GPU
    python analysis/bench.py --tiny --out DIR    # a small network, to try the program

The plain recipe is in bench_parts/recipe.py, and is what public repositories of the field do. Both
sides have the same recordings, which are synthesised, the same network and the same batches, and
run in turns. Threads of OpenMP wait rather than spin: that favours the recipe, whose loader needs
the cores. On a CPU the recipe has a process of its own, with the memory allocator as it is, and
raysearch that of its trials. The parts, each also alone by --part NAME:

- feeding, front end, step, epoch: a training and its pieces;
- real data: raysearch's training against one constant batch;
- scoring, sweep: embeddings of clips; fits and scores of all inlier models;
- trial start, whole trial: commands, with Ray; trial: in this process, without it;
- flop use, packing: of a GPU.

Prints a table, and writes bench.csv with all repeats and bench.svg with the ratios into --out. What
this machine cannot run is a row with the reason. The exit code is 1 if a part failed.
"""

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

NEEDED = {
    **{name: name for name in ("torch", "torchaudio", "timm", "pydantic", "safetensors")},
    **{name: name for name in ("soundfile", "tabulate", "threadpoolctl", "filelock")},
    "sklearn": "scikit-learn",
    "upath": "universal-pathlib",
}
"""Modules that this program imports -> their packages."""
missing = [NEEDED[name] for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"bench.py needs {', '.join(missing)}: pip install {' '.join(missing)}")

# Before torch is imported. Threads of OpenMP that spin take the cores from the recipe's loader.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from bench_parts.allocator import start_again_as_trial  # noqa: E402

if __name__ == "__main__":
    start_again_as_trial()

import torch  # noqa: E402
from bench_parts.chart import write_chart  # noqa: E402
from bench_parts.devices import has_mps  # noqa: E402
from bench_parts.parts import ON_CPU, PARTS, run_part  # noqa: E402
from bench_parts.plan import CPU, GPU, SMALL, Bench, BenchPlan  # noqa: E402
from bench_parts.rows import Row, table, write_csv  # noqa: E402
from gpu.outcome import elapsed, say  # noqa: E402
from gpu.plan import machine, write_recordings  # noqa: E402
from pydantic import ValidationError  # noqa: E402


def main() -> None:
    """Run the parts and exit."""
    arguments = parse()
    if not arguments.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        sys.exit("bench.py: this machine has no GPU; leave --gpu out")
    plan = plan_of(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = arguments.part or (list(PARTS) if arguments.gpu else ON_CPU)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAYSEARCH_CACHE"] = str(Path(folder) / "cache")
        bench = prepare(plan, Path(folder))
        line = machine_text(plan)
        print(line, flush=True)
        rows, succeeded = run_all(names, bench, arguments.out, line)
    print(f"\n{table(rows)}\n\n{line}; {elapsed():.0f} s in all", flush=True)
    sys.exit(not succeeded)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--gpu", action="store_true", help="sizes of a GPU, in 5 minutes")
    parser.add_argument("--tiny", action="store_true", help="a small network and few clips")
    parser.add_argument("--part", action="append", choices=PARTS, help="again for more")
    parser.add_argument("--repeats", type=int, help="times that each part is measured")
    parser.add_argument("--seconds", type=float, help="time of all parts, on a slow machine")
    parser.add_argument(
        "--fixed", action="append", default=[], metavar="OPTION=VALUE",
        help="option of raysearch's trainings, as under `fixed` in a space file; again for more",
    )  # fmt: skip
    return parser.parse_args()


def plan_of(arguments: argparse.Namespace) -> BenchPlan:
    """Return the sizes that the command line asks for."""
    plan = SMALL if arguments.tiny else GPU if arguments.gpu else CPU
    if arguments.repeats:
        plan = replace(plan, repeats=arguments.repeats, cold_repeats=arguments.repeats)
    pairs = [text.partition("=") for text in arguments.fixed]
    try:
        options = plan.sizes.options.replace({name: value for name, _, value in pairs})
    except ValidationError as error:
        sys.exit(f"bench.py: --fixed {' '.join(arguments.fixed)}: {error.errors()[0]['msg']}")
    total = arguments.seconds or plan.sizes.total
    return replace(plan, sizes=replace(plan.sizes, options=options, total=total))


def prepare(plan: BenchPlan, folder: Path) -> Bench:
    """Write the recordings into a folder and open them."""
    clips = write_recordings(plan.sizes, folder / "data")
    bench = Bench.open(plan, folder)
    say(f"{clips} clips written and opened")
    return bench


def run_all(names: Sequence[str], bench: Bench, out: Path, line: str) -> tuple[list[Row], bool]:
    """Run parts and write the results after each.

    Args:
        names: of the parts.
        bench: recordings and sizes.
        out: folder of the results.
        line: machine and options.

    Returns:
        All rows, and True unless a part failed.
    """
    rows: list[Row] = []
    succeeded = True
    for name in names:
        of_part, is_good = run_part(name, bench)
        rows += of_part
        succeeded &= is_good
        write_csv(out / "bench.csv", rows)
        write_chart(out / "bench.svg", rows, line)
    return rows, succeeded


def machine_text(plan: BenchPlan) -> str:
    """Return the machine, and options that are not the default ones, in a line."""
    facts = machine()
    changed = plan.sizes.options.model_dump(exclude_defaults=True)
    parts = [
        f"{processor()}, {facts['cpu_cores']} cores, {facts['torch_threads']} threads of torch",
        f"torch {facts['torch']}",
        ", ".join(f"{name}: {value}" for name, value in changed.items()),
    ]
    if facts["gpu"]:
        mps = "on" if has_mps() else "off"
        parts.insert(0, f"{facts['gpu']}, driver {facts['driver']}, MPS {mps}")
    return "; ".join(parts)


def processor() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.machine())


if __name__ == "__main__":
    main()
