"""Number of trials that share a GPU, measured once before a search.

Small batches leave most of a GPU idle. Trials are added while the memory suffices and the total
throughput grows.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raysearch.backend.resources import Node
from raysearch.config import Options
from raysearch.errors import first_line
from raysearch.training.noise import NoiseTraining

logger = logging.getLogger(__name__)

COUNTS = (1, 2, 3, 4, 6, 8)
"""Numbers of trials on one GPU that are measured."""

GAIN = 1.1
"""Factor by which the total throughput must grow from one count to the next."""

CONTEXT = 600 * 2**20
"""Bytes that a process holds on a GPU beside its tensors: context, libraries, fragments."""

ROOM = 0.9
"""Part of a GPU's memory that trials may take."""

SECONDS = 2.0
"""Length of each measurement."""

LIMIT = 60.0
"""Seconds of all measurements, and seconds to wait for a GPU that others hold."""


def measure_gpu_part(options: Options, batch_size: int, nodes: Sequence[Node]) -> float | None:
    """Measure the part of a GPU that a trial should hold.

    Args:
        options: of the trials.
        batch_size: the largest of the space, which needs the most memory.
        nodes: of the cluster.

    Returns:
        1 / trials on one GPU; 1 if no GPU is free within a minute; None without GPUs.
    """
    if not any(node.gpus for node in nodes):
        return None
    group = placement_group([{"GPU": 1}])
    try:
        if not group.wait(LIMIT):
            logger.warning(
                "all GPUs have been busy for %.0f s, so the trials that fit on one could not be "
                "measured: each holds a whole GPU",
                LIMIT,
            )
            return 1.0
        return 1 / _Measurement(options, batch_size, group).count()
    finally:
        # Ends the processes as well.
        remove_placement_group(group)


class _Measurement:
    """Trainings on noise in processes on one GPU, started once: each takes long to get ready."""

    def __init__(self, options: Options, batch_size: int, group: PlacementGroup) -> None:
        self.options, self.batch_size, self.group = options, batch_size, group
        self.end = time.monotonic() + LIMIT

    def count(self) -> int:
        """Return the number of trials that pay off on the GPU; 1 where nothing can be measured."""
        speeds: dict[int, float] = {}
        try:
            self._measure(speeds)
        except (GetTimeoutError, RayTaskError, RayActorError) as error:
            if speeds:
                text = "only some numbers of trials on a GPU could be measured (%s)"
            else:
                text = "no trial on a GPU could be measured (%s)"
            logger.warning(text, first_line(error))
        return best_count(speeds) if speeds else 1

    def _measure(self, speeds: dict[int, float]) -> None:
        """Add the clips/s of growing numbers of trials, as far as memory and time allow."""
        [first] = self._start(1)
        [(memory, total)] = self._get([first.prepare.remote()])
        speeds[1] = sum(self._get([first.run.remote(SECONDS)]))
        counts = fitting_counts(memory + CONTEXT, total)
        ready = [first, *self._prepared(counts[-1] - 1)]
        for count in counts[1:]:
            if count > len(ready):
                return
            speeds[count] = sum(self._get([each.run.remote(SECONDS) for each in ready[:count]]))
            if best_count(speeds) != count:
                return

    def _prepared(self, count: int) -> list[Any]:
        """Start further processes; return those that are ready while there is time to measure."""
        waiting = {training.prepare.remote(): training for training in self._start(count)}
        if not waiting:
            return []
        patience = self.end - time.monotonic() - len(COUNTS) * SECONDS
        done, _ = ray.wait(list(waiting), num_returns=count, timeout=max(0.0, patience))
        return [waiting[result] for result in done if _succeeded(result)]

    def _start(self, count: int) -> list[Any]:
        strategy = PlacementGroupSchedulingStrategy(self.group)
        share = 1 / COUNTS[-1]
        actor = ray.remote(num_gpus=share, num_cpus=0, scheduling_strategy=strategy)(_Training)
        return [actor.remote(self.options, self.batch_size) for _ in range(count)]

    def _get(self, results: list[Any]) -> Any:
        """Return results.

        Raises:
            GetTimeoutError: the time of all measurements is spent.
        """
        return ray.get(results, timeout=max(0.0, self.end - time.monotonic()))


def _succeeded(result: Any) -> bool:
    """Return False if a process ran out of memory, or died."""
    try:
        ray.get(result)
    except (RayTaskError, RayActorError):
        return False
    return True


class _Training:
    """A training in a process of its own."""

    def __init__(self, options: Options, batch_size: int) -> None:
        self.training = NoiseTraining(options, batch_size)

    def prepare(self) -> tuple[int, int]:
        """Take the first steps; return the bytes of the training and of the GPU."""
        self.training.run(0.5)
        return self.training.memory()

    def run(self, seconds: float) -> float:
        """Return the clips/s of some seconds."""
        return self.training.run(seconds)


def fitting_counts(memory: int, total: int) -> list[int]:
    """Return the numbers of trials that fit into the memory of a GPU; 1 is always among them.

    Args:
        memory: bytes of one trial.
        total: bytes of the GPU.
    """
    return [count for count in COUNTS if count == 1 or count * memory <= ROOM * total]


def best_count(speeds: Mapping[int, float]) -> int:
    """Return the count up to which every step raised the throughput by `GAIN`.

    Args:
        speeds: trials at once -> clips/s of all together, from 1 upwards.
    """
    counts = sorted(speeds)
    best = counts[0]
    for count in counts[1:]:
        if speeds[count] < GAIN * speeds[best]:
            break
        best = count
    return best
