"""Several trials on one GPU at once, each a real training in a process of its own."""

import multiprocessing
import os
import queue
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import torch
from gpu.outcome import Row, Section, peak_memory, reset_memory, say
from gpu.plan import Plan, clips_and_steps, open_recordings

from raysearch.errors import TrialError
from raysearch.train import Epoch, train

TITLE = "trials at once on one device: clips/s of all together, checkpoints included"

PATIENCE = 90.0
"""Seconds that trials wait for each other's first epoch, and the parent for their results."""


@dataclass(frozen=True)
class Job:
    """One of several trials at once."""

    plan: Plan
    recordings: Path
    folder: Path
    number: int
    trials: int


def fill(section: Section, plan: Plan, recordings: Path, folder: Path) -> None:
    """Measure every number of trials at once."""
    reset_memory()
    for trials in plan.packed:
        say(f"packing: {trials} at once")
        results = run_together(plan, recordings, folder / str(trials), trials)
        first = section.tables[TITLE][0]["clips_per_s"] if TITLE in section.tables else None
        row = summary(trials, results, first)
        section.add(TITLE, row)
        failed = row["error"] and not row["out_of_memory"]
        section.check(f"packing, {trials} at once: errors", float(bool(failed)), 0.0)


def summary(trials: int, results: list[Row], first: float | None) -> Row:
    """Return the row of some trials at once.

    Args:
        trials: number of them.
        results: of those that reported.
        first: clips/s of one trial alone; None if this is it or it failed.
    """
    errors = sorted({result["error"] for result in results if result["error"]})
    if len(results) < trials:
        errors.append(f"{trials - len(results)} of {trials} trials did not report")
    speed = None if errors else sum(result["clips_per_s"] for result in results)
    alone = speed if trials == 1 else first
    reserved = [result["reserved_mib"] for result in results if result["reserved_mib"]]
    return {
        "trials": trials,
        "clips_per_s": speed,
        "speed_up": speed / alone if speed and alone else None,
        "reserved_mib": sum(reserved) if reserved else None,
        "out_of_memory": any("memory" in error for error in errors),
        "error": "; ".join(errors),
    }


def run_together(plan: Plan, recordings: Path, folder: Path, trials: int) -> list[Row]:
    """Run trials in processes of their own and return what they reported."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(trials), context.Queue()
    processes: list[BaseProcess] = []
    for number in range(trials):
        job = Job(plan, recordings, folder, number, trials)
        processes.append(context.Process(target=work, args=(job, barrier, answers), daemon=True))
        processes[-1].start()
    try:
        return _collected(answers, processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _collected(answers: Any, processes: list[BaseProcess]) -> list[Row]:
    results: list[Row] = []
    end = time.monotonic() + 2 * PATIENCE
    while len(results) < len(processes) and time.monotonic() < end:
        try:
            results.append(answers.get(timeout=1))
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                break
    return results


def work(job: Job, barrier: Any, answers: Any) -> None:
    """Train in this process and send its speed, or its error, to the parent."""
    try:
        answers.put(_trained(job, barrier))
    except Exception as error:
        barrier.abort()
        reason = next(iter(str(error).splitlines()), "")[:200]
        if isinstance(error, torch.OutOfMemoryError) or "out of GPU memory" in reason:
            reason = "out of GPU memory"
        elif isinstance(error, BrokenBarrierError):
            reason = "another trial failed"
        elif not isinstance(error, TrialError):
            reason = f"{type(error).__name__}: {reason}"
        answers.put({"clips_per_s": None, "reserved_mib": None, "error": reason})


def _trained(job: Job, barrier: Any) -> Row:
    plan = job.plan
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(plan.threads or max(1, cores // job.trials))
    data = open_recordings(plan, job.recordings)
    size, epochs = plan.batch_sizes[0], plan.packed_epochs
    config = plan.config(data, size, plan.precision, epochs, seed=job.number)
    times: list[float] = []

    def report(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            barrier.wait(PATIENCE)
        times.append(time.perf_counter())

    train(config, data, report, job.folder / str(job.number))
    clips, _ = clips_and_steps(config, data)
    speed = clips * (plan.packed_epochs - 1) / (times[-1] - times[0])
    return {"clips_per_s": speed, "reserved_mib": peak_memory()[1], "error": ""}
