"""Checks and measurements of raysearch on one GPU: training, speed, memory, scores, resume.

    python analysis/gpu_check.py --out DIR           # at most 5 minutes on one GPU
    python analysis/gpu_check.py --out DIR --tiny    # a small network, seconds, on a CPU as well

It synthesises recordings and needs neither network, pretrained weights, Ray nor Optuna, but the
packages of `NEEDED`. Sections, the most important first:

- training: `run_trial` in bf16 and fp32 at two batch sizes: losses, scores, memory;
- speed: clips/s of raysearch's epochs against the bare step on a constant batch;
- scores: embeddings and scores on the GPU against those on the CPU;
- resume: a resumed training against an uninterrupted training;
- packing: several trials on one GPU at once.

Prints a table per section and writes gpu_check.json. The exit code is 1 if a check fails.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
    sys.exit(f"gpu_check.py needs {', '.join(missing)}: pip install {' '.join(missing)}")

import torch  # noqa: E402
from gpu import packing, resume, scores, speed, training  # noqa: E402
from gpu.outcome import (  # noqa: E402
    Section,
    all_checks,
    elapsed,
    exit_code,
    run_section,
    say,
    table,
    write,
)
from gpu.plan import (  # noqa: E402
    FULL,
    TINY,
    Plan,
    machine,
    machine_line,
    open_recordings,
    write_recordings,
)

Fill = Callable[[Section], None]


def main() -> None:
    """Run all sections and exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--tiny", action="store_true", help="a small network and few clips")
    parser.add_argument("--seconds", type=float, help="time of all sections, on a slow machine")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    plan = TINY if arguments.tiny else FULL
    if arguments.seconds:
        plan = replace(plan, total=arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        sections = run_all(plan, Path(folder), arguments.out / "gpu_check.json")
    show(sections)
    sys.exit(exit_code(all_checks(sections)))


def run_all(plan: Plan, folder: Path, path: Path) -> dict[str, Section]:
    """Run every section and write the results after each.

    Args:
        plan: sizes.
        folder: of recordings and checkpoints, empty.
        path: of the JSON file.
    """
    os.environ["RAYSEARCH_CACHE"] = str(folder / "cache")
    if plan.threads:
        torch.set_num_threads(plan.threads)
    facts = machine()
    print(machine_line(facts), flush=True)
    clips = write_recordings(plan, folder / "data")
    say(f"{clips} clips written")
    sections: dict[str, Section] = {}
    for name, fill in jobs(plan, folder, sections).items():
        limit = min(plan.limits[name] * plan.total, plan.total - elapsed())
        sections[name] = run_section(name, fill, limit)
        write(path, facts, plan.facts(), sections)
    return sections


def jobs(plan: Plan, folder: Path, sections: dict[str, Section]) -> dict[str, Fill]:
    """Return the sections by name, in their order."""
    recordings = folder / "data"
    data = open_recordings(plan, recordings)
    trials = folder / "trials"

    def measure_speed(section: Section) -> None:
        speed.fill(section, plan, data, sections["training"])

    return {
        "training": partial(
            training.fill, plan=plan, data=data, recordings=recordings, folder=trials
        ),
        "speed": measure_speed,
        "scores": partial(scores.fill, plan=plan, data=data, folder=trials),
        "resume": partial(resume.fill, plan=plan, data=data, folder=folder / "resume"),
        "packing": partial(
            packing.fill, plan=plan, recordings=recordings, folder=folder / "packing"
        ),
    }


def show(sections: dict[str, Section]) -> None:
    """Print all tables, then the checks."""
    for name, section in sections.items():
        for title, rows in section.tables.items():
            print(table(title, rows))
        if section.error:
            print(f"\n{name}: {section.error}")
    print(table("checks", [check.row() for check in all_checks(sections)]))
    print(f"{elapsed():.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
