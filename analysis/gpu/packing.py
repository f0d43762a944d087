"""Several trials on one GPU at once, each a real training in a separate process.

A new process loads CUDA kernels for half a minute. So the processes start once, as many as the
largest number of trials, and each trains an epoch to warm up. For every number of trials, that many
processes then train at once. The idle processes hold no GPU memory but their context.

Parent and process communicate through a pipe. A process that fails sends its error, the pipe of a
dead process is closed, and a silent process is ended in time. No process blocks the others.
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
"""Shares of the section's time after which silent processes are ended: warm-up, all trials."""

GRACE = 3.0
"""Least seconds that a process has to answer, even after that time."""


@dataclass(frozen=True)
class Job:
    """Inputs of a process; `number` is the seed of its trainings."""

    plan: Plan
    recordings: Path
    folder: Path
    number: int


class Worker:
    """A training process, on the side of its parent."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=work, args=(job, child_pipe), daemon=True)
        self.process.start()
        child_pipe.close()  # or the pipe would outlive the process

    def send(self, message: int | bool) -> None:
        """Send a message; an error shows in the answer."""
        with suppress(OSError):
            self.pipe.send(message)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass
class Crew:
    """All processes.

    Attributes:
        ready: processes that warmed up and have answered since.
        failed: results of the processes that failed to warm up.
        end: time.monotonic() at which silent processes are ended.
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
        trials: number of trials at once.
        results: of the trials that reported.
        first: clips/s of a single trial; None if this row is the single trial, or if that failed.
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
    start = time.monotonic()
    limit = min(plan.limits["packing"] * plan.total, plan.total - elapsed())
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
    """Train in some processes at once and return their results."""
    workers = crew.ready[:trials]
    if len(workers) < trials:
        return crew.failed + [failure("another trial failed") for _ in workers]
    for worker in workers:
        worker.send(trials)
    started = collect(workers, crew.end)
    waiting = [worker for worker, row in started.items() if not row["error"]]
    for worker in waiting:
        worker.send(len(waiting) == trials)
    ended = collect(waiting, crew.end)
    silent = {*workers} - {*started} | {*waiting} - {*ended}
    crew.ready = [worker for worker in crew.ready if worker not in silent]
    return [*(row for row in started.values() if row["error"]), *ended.values()]


def collect(workers: Iterable[Worker], end: float) -> dict[Worker, Row]:
    """Return the answers of workers in their order; end the workers that do not answer in time."""
    answers: dict[Worker, Row | None] = dict.fromkeys(workers)
    waiting, end = list(answers), max(end, time.monotonic() + GRACE)
    while waiting and (remaining := end - time.monotonic()) > 0:
        readable = wait([worker.pipe for worker in waiting], remaining)
        for worker in [worker for worker in waiting if worker.pipe in readable]:
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
    """Trainings in a process."""

    def __init__(self, job: Job, pipe: Connection) -> None:
        self.job, self.pipe = job, pipe

    @cached_property
    def data(self) -> TrialData:
        """Recordings, opened once."""
        return open_recordings(self.job.plan, self.job.recordings)

    def warm_up(self) -> Row:
        """Train an epoch, so that all kernels are loaded."""
        self._train(max(self.job.plan.packed), 1, "warm-up", lambda _: None)
        return {"error": ""}

    def measure(self, trials: int) -> Row:
        """Train one of several trials at once.

        The first epoch allocates the memory; after it the trials wait for each other.
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
        """Train and return the number of clips of an epoch."""
        plan, number = self.job.plan, self.job.number
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(plan.threads or max(1, cores // trials))
        size = plan.batch_sizes[0]
        config = plan.config(self.data, size, plan.precision, epochs, seed=number)
        train(config, self.data, report, self.job.folder / folder)
        clips, _ = clips_and_steps(config, self.data)
        return clips


def work(job: Job, pipe: Connection) -> None:
    """Train an epoch to warm up, then one trial for each number of trials that the parent sends."""
    trainer = Trainer(job, pipe)
    with suppress(EOFError, OSError):  # The parent is gone.
        pipe.send(attempt(trainer.warm_up))
        while True:
            pipe.send(attempt(partial(trainer.measure, pipe.recv())))


def attempt(action: Callable[[], Row]) -> Row:
    """Return the result of an action, or its error, and free its GPU memory."""
    row = _result(action)
    with suppress(RuntimeError):  # After some errors every CUDA call fails.
        reset_memory()
    return row


def _result(action: Callable[[], Row]) -> Row:
    try:
        return action()
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:200]
        if isinstance(error, torch.OutOfMemoryError) or "out of GPU memory" in reason:
            return failure("out of GPU memory")
        return failure(
            reason if isinstance(error, TrialError) else f"{type(error).__name__}: {reason}"
        )
