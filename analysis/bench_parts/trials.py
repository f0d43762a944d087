"""Parts of a whole trial: its start, and all of it, by the command and in this process."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from bench_parts.allocator import without_allocator
from bench_parts.duel import CannotRunError, Duel
from bench_parts.plan import Bench
from bench_parts.recipe_trial import run
from gpu.plan import LAM, LR, MACHINE, OTHERS, VALIDATION_IDS, configuration
from startup_parts.watch import end

import raysearch
from raysearch.data.synthetic.demo import DemoSize, write_demo
from raysearch.study.searched import Search
from raysearch.study.space import Space

ANALYSIS = Path(__file__).parents[1]

PAUSE = 0.02
"""Seconds between two looks for the file that ends a measurement."""

NEEDED_BY_COMMANDS = ("ray", "optuna")


def trial(bench: Bench) -> Iterator[Duel]:
    """Compare trials in this process: training, validation, checkpoints, scores."""
    batch_size = bench.plan.sizes.batch_sizes[0]
    numbers, facts = count(), facts_of_trial(bench, batch_size)
    space = Space(
        validation_ids=VALIDATION_IDS,
        search=Search.model_validate(_search(bench, batch_size)),
        fixed=_options(bench),
    )

    def folder() -> Path:
        path = bench.folder / "trials" / str(next(numbers))
        path.mkdir(parents=True)
        return path

    def recipe() -> float:
        start = time.perf_counter()
        run(facts, LR, folder())
        return time.perf_counter() - start

    def raysearch_trial() -> float:
        start = time.perf_counter()
        raysearch.run_trial(
            configuration(batch_size),
            bench.folder / "data",
            machine=MACHINE,
            folder=folder(),
            space=space,
        )
        return time.perf_counter() - start

    name = f"trial, batch {batch_size}"
    remark = f"{_remark(bench)}; in this process, without Ray"
    yield Duel(name, "trials", 1, recipe, raysearch_trial, remark, is_cold=True)


def trial_start(bench: Bench) -> Iterator[Duel]:
    """Compare the times from a command to the end of its first epoch of a tiny network."""
    check_commands()
    import yaml
    from startup import PLAIN, RUN, SPACE

    folder, numbers = bench.folder / "start", count()
    write_demo(folder / "data", DemoSize(12, 6, 3.0), machines=(MACHINE, *OTHERS))
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))

    def recipe() -> float:
        (folder / "first").unlink(missing_ok=True)
        return seconds_until("first", [sys.executable, str(PLAIN), str(folder)], folder)

    def by_raysearch() -> float:
        name = f"run{next(numbers)}"
        command = [*RUN, "--concurrent", "1", "--name", name]
        return seconds_until(f"runs/{name}/encoders/*/last.*", command, folder)

    remark = (
        "from the command to the end of the first epoch of a tiny network, Ray's start included"
    )
    yield Duel("trial start", "starts", 1, recipe, by_raysearch, remark, is_cold=True)


def whole_trial(bench: Bench) -> Iterator[Duel]:
    """Compare the times from a command to the result of its only trial."""
    check_commands()
    import yaml
    from startup import COMMAND

    folder, numbers = bench.folder / "whole", count()
    folder.mkdir()
    size = bench.plan.sizes.batch_sizes[0]
    (folder / "space.yaml").write_text(yaml.safe_dump(_space_file(bench, size)))
    (folder / "trial.json").write_text(json.dumps(facts_of_trial(bench, size)))

    def recipe() -> float:
        (folder / "result.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "bench_parts.recipe_trial", str(folder)]
        return seconds_until("result.json", command, folder)

    def by_raysearch() -> float:
        name = f"run{next(numbers)}"
        command = [COMMAND, "run", "--machine", MACHINE, "--data", str(bench.folder / "data")]
        command += ["--space", "space.yaml", "--name", name, "--no-final", "--no-report"]
        return seconds_until(f"runs/{name}/records/*", command, folder)

    remark = f"{_remark(bench)}; from the command to the trial's result, Ray's start included"
    yield Duel("whole trial", "trials", 1, recipe, by_raysearch, remark, is_cold=True)


def check_commands() -> None:
    """Refuse to measure commands where packages are missing that they need.

    Raises:
        CannotRunError: a package is missing.
    """
    missing = [name for name in NEEDED_BY_COMMANDS if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRunError(f"not installed: {', '.join(missing)}")


def seconds_until(pattern: str, command: Sequence[str], folder: Path) -> float:
    """Start a command, wait until a file appears, and end the command.

    Args:
        pattern: of the file, in the folder.
        command: with its arguments; modules in analysis/ can be imported.
        folder: working folder of the command.

    Raises:
        RuntimeError: the command ended before; the message has the end of its output.
    """
    log, start = folder / "command.log", time.monotonic()
    paths = [str(ANALYSIS), str(ANALYSIS.parent), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # raysearch sets the allocator of its trials by itself.
    with log.open("w") as file, without_allocator():
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | variables,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        while not any(folder.glob(pattern)):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended early: {log.read_text()[-300:]}")
            time.sleep(PAUSE)
        return time.monotonic() - start
    finally:
        end(process)


def facts_of_trial(bench: Bench, batch_size: int) -> dict[str, Any]:
    """Return the JSON content of a trial of the plain recipe."""
    epochs, tests = bench.plan.trial_epochs, bench.test_files()
    setting = replace(bench.setting(batch_size), steps=epochs * bench.steps(batch_size))

    def rows(files: Sequence[Any]) -> list[dict[str, Any]]:
        return [asdict(file) for file in files]

    return {
        "setting": asdict(setting),
        "train": rows(bench.files()),
        "held_out": rows(bench.files(held_out=True)),
        "tests": rows(tests),
        "labels": [clip.label for clip in bench.data.validation.clips],
        "tested": sorted({file.product for file in tests}),
        "epochs": epochs,
        "segments": bench.options.segments,
        "models": dict(bench.plan.models),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": int(torch.cuda.is_available()),
    }


def _space_file(bench: Bench, batch_size: int) -> dict[str, Any]:
    """Return the content of a space file of a search of one trial."""
    return {
        "search": _search(bench, batch_size),
        "fixed": _options(bench).model_dump(exclude_defaults=True),
        "strategy": {"trials": 1, "scheduler": "none", "finalists": "none"},
    }


def _search(bench: Bench, batch_size: int) -> dict[str, Any]:
    inliers = {name: list(values) for name, values in bench.plan.models.items()}
    return {"lr": LR, "batch_size": batch_size, "lambda": LAM, "inlier": inliers}


def _options(bench: Bench) -> Any:
    return bench.options.replace({"epochs": bench.plan.trial_epochs})


def _remark(bench: Bench) -> str:
    count = sum(map(len, bench.plan.models.values()))
    return f"{bench.plan.trial_epochs} epochs of {bench.clips} clips, {count} inlier models"
