"""Several trials on one GPU at once, each a real training in a process of its own.

A fresh process loads CUDA kernels for half a minute. So as many processes as there are trials at
most start once, and each trains an epoch to warm up. For every number of trials, that many of them
then train at once while the others are idle and hold no more GPU memory than their context.

Parent and process talk through a pipe. A process that fails says why; the pipe of one that died is
closed; one that says nothing is ended in time. None of them keeps the others waiting.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from gpu.outcome import Row, Section, elapsed, peak_memory, reset_memory, say
from gpu.plan import Plan, clips_and_steps, open_recordings

from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError
from raysearch.training.outcome import Epoch
from raysearch.training.train import train

TITLE = "trials at once on one device: clips/s of all together, checkpoints included"

WARM_UP, ALL = 0.7, 0.9
"""Shares of the section's time after which silent processes are ended: in the warm-up, then."""

GRACE = 3.0
"""Seconds that a process has to answer even when that time is over."""


@dataclass(frozen=True)
class Job:
    """What a process needs to know; its number is the seed of its trainings."""

    plan: Plan
    recordings: Path
    folder: Path
    number: int


class Worker:
    """A process that trains, as its parent sees it."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(job, theirs), daemon=True)
        self.process.start()
        theirs.close()  # or the pipe would outlive the process

    def tell(self, message: int | bool) -> None:
        """Send a message; whether it arrives shows in the answer."""
        with suppress(OSError):
            self.pipe.send(message)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass
class Crew:
    """All processes.

    Attributes:
        ready: those that warmed up and answered ever since.
        failed: what the others said.
        end: time at which silent ones are ended, as time.monotonic() counts.
    """

    ready: list[Worker]
    failed: list[Row]
    end: float


def fill(section: Section, plan: Plan, recordings: Path, folder: Path) -> None:
    """Measure every number of trials at once."""
    reset_memory()
    say(f"packing: {max(plan.packed)} processes warm up")
    with warm_crew(plan, recordings, folder) as crew:
        for trials in plan.packed:
            say(f"packing: {trials} at once")
            results = run_together(crew, trials)
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


@contextmanager
def warm_crew(plan: Plan, recordings: Path, folder: Path) -> Iterator[Crew]:
    """Start all processes, wait until they are warm, and end them after the block."""
    start, limit = (
        time.monotonic(),
        min(plan.limits["packing"] * plan.total, plan.total - elapsed()),
    )
    workers: list[Worker] = []
    try:
        for number in range(max(plan.packed)):
            workers.append(Worker(Job(plan, recordings, folder / str(number), number)))
        answers = collect(workers, start + WARM_UP * limit)
        ready = [worker for worker, row in answers.items() if not row["error"]]
        failed = [row for row in answers.values() if row["error"]]
        yield Crew(ready, failed, start + ALL * limit)
    finally:
        for worker in workers:
            worker.end()


def run_together(crew: Crew, trials: int) -> list[Row]:
    """Train in some processes at once and return what they reported."""
    workers = crew.ready[:trials]
    if len(workers) < trials:
        return crew.failed + [failure("another trial failed") for _ in workers]
    for worker in workers:
        worker.tell(trials)
    started = collect(workers, crew.end)
    waiting = [worker for worker, row in started.items() if not row["error"]]
    for worker in waiting:
        worker.tell(len(waiting) == trials)
    ended = collect(waiting, crew.end)
    silent = {*workers} - {*started} | {*waiting} - {*ended}
    crew.ready = [worker for worker in crew.ready if worker not in silent]
    return [*(row for row in started.values() if row["error"]), *ended.values()]


def collect(workers: Iterable[Worker], end: float) -> dict[Worker, Row]:
    """Return the answers of workers in their order, and end those that gave none until the end."""
    answers: dict[Worker, Row | None] = dict.fromkeys(workers)
    waiting, end = list(answers), max(end, time.monotonic() + GRACE)
    while waiting and (left := end - time.monotonic()) > 0:
        heard = wait([worker.pipe for worker in waiting], left)
        for worker in [worker for worker in waiting if worker.pipe in heard]:
            waiting.remove(worker)
            with suppress(EOFError, OSError):
                answers[worker] = worker.pipe.recv()
    for worker in answers:
        if answers[worker] is None:
            worker.end()
    return {worker: row for worker, row in answers.items() if row is not None}


def failure(reason: str) -> Row:
    """Return the result of a trial that failed."""
    return {"clips_per_s": None, "reserved_mib": None, "error": reason}


class Trainer:
    """What trains in a process of its own."""

    def __init__(self, job: Job, pipe: Connection) -> None:
        self.job, self.pipe = job, pipe

    @cached_property
    def data(self) -> TrialData:
        """The recordings, opened once."""
        return open_recordings(self.job.plan, self.job.recordings)

    def warm_up(self) -> Row:
        """Train an epoch, so that all kernels are loaded."""
        self._train(max(self.job.plan.packed), 1, "warm-up", lambda _: None)
        return {"error": ""}

    def measure(self, trials: int) -> Row:
        """Train as one of some trials at once.

        The first epoch builds up the memory, and then the trials wait for each other.
        """
        times: list[float] = []

        def report(epoch: Epoch) -> None:
            if epoch.epoch == 1:
                self._wait_for_others()
            times.append(time.perf_counter())

        clips = self._train(trials, self.job.plan.packed_epochs, str(trials), report)
        speed = clips * (len(times) - 1) / (times[-1] - times[0])
        return {"clips_per_s": speed, "reserved_mib": peak_memory()[1], "error": ""}

    def _wait_for_others(self) -> None:
        self.pipe.send({"error": ""})
        if not self.pipe.recv():
            raise TrialError("another trial failed")

    def _train(self, trials: int, epochs: int, folder: str, report: Callable[[Epoch], None]) -> int:
        """Train and return the clips of an epoch."""
        plan, number = self.job.plan, self.job.number
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(plan.threads or max(1, cores // trials))
        size = plan.batch_sizes[0]
        config = plan.config(self.data, size, plan.precision, epochs, seed=number)
        train(config, self.data, report, self.job.folder / folder)
        clips, _ = clips_and_steps(config, self.data)
        return clips


def work(job: Job, pipe: Connection) -> None:
    """Warm up, then train whenever the parent sends a number of trials."""
    trainer = Trainer(job, pipe)
    with suppress(EOFError, OSError):  # The parent is gone.
        pipe.send(attempt(trainer.warm_up))
        while True:
            pipe.send(attempt(partial(trainer.measure, pipe.recv())))


def attempt(action: Callable[[], Row]) -> Row:
    """Return what an action returns, or its error; its GPU memory is free again."""
    row = _row_of(action)
    with suppress(RuntimeError):  # After some errors CUDA answers no call any more.
        reset_memory()
    return row


def _row_of(action: Callable[[], Row]) -> Row:
    try:
        return action()
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:200]
        if isinstance(error, torch.OutOfMemoryError) or "out of GPU memory" in reason:
            return failure("out of GPU memory")
        return failure(
            reason if isinstance(error, TrialError) else f"{type(error).__name__}: {reason}"
        )
