"""Number of trials that share a GPU, measured once before a search.

Small batches leave most of a GPU idle. Trials are added while the memory suffices and the total
throughput grows.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raysearch.backend.resources import Node
from raysearch.config import Options
from raysearch.training.network import best_device, frontend, noise_encoder, noise_loss

COUNTS = (1, 2, 3, 4, 6, 8)
"""Numbers of trials on one GPU that are measured."""

GAIN = 1.1
"""Factor by which the total throughput must grow from one count to the next."""

CONTEXT = 600 * 2**20
"""Bytes that a process holds on a GPU beside its tensors: context, libraries, fragments."""

SECONDS = 5.0
"""Length of each measurement."""

WARM_UP = 30.0
"""Seconds for every measured process to import torch and take its first steps."""


def measure_gpu_part(options: Options, batch_size: int, nodes: Sequence[Node]) -> float | None:
    """Measure the part of a GPU that a trial should hold.

    Args:
        options: of the trials.
        batch_size: the largest of the space, which needs the most memory.
        nodes: of the cluster.

    Returns:
        1 / trials on one GPU; None without GPUs.
    """
    if not any(node.gpus for node in nodes):
        return None
    group = placement_group([{"GPU": 1}])
    try:
        return 1 / _measure_count(options, batch_size, group)
    finally:
        remove_placement_group(group)


def _measure_count(options: Options, batch_size: int, group: PlacementGroup) -> int:
    memory, total = ray.get(_on_gpu(group, 1.0, _memory).remote(options, batch_size))
    speeds: dict[int, float] = {}
    for count in fitting_counts(memory, total):
        step, start = _on_gpu(group, 1 / count, _speed), time.time() + WARM_UP
        try:
            rates = ray.get([step.remote(options, batch_size, start) for _ in range(count)])
        except ray.exceptions.RayTaskError:
            # Several trials need more memory than the measurement of one predicts.
            break
        speeds[count] = sum(rates)
        if best_count(speeds) != count:
            break
    return best_count(speeds) if speeds else 1


def fitting_counts(memory: int, total: int) -> list[int]:
    """Return the numbers of trials that fit into the memory of a GPU; 1 is always among them.

    Args:
        memory: bytes of one trial.
        total: bytes of the GPU.
    """
    return [count for count in COUNTS if count == 1 or count * memory <= 0.9 * total]


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


def _on_gpu(group: PlacementGroup, share: float, function: Any) -> Any:
    strategy = PlacementGroupSchedulingStrategy(group)
    return ray.remote(num_gpus=share, num_cpus=0, max_calls=1, scheduling_strategy=strategy)(
        function
    )


def _memory(options: Options, batch_size: int) -> tuple[int, int]:
    """Return the bytes on the GPU that training takes, and the bytes of the GPU."""
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.reset_peak_memory_stats()
    try:
        _train(options, batch_size, 0.0, 0.0)
    except torch.OutOfMemoryError:
        return total, total
    return torch.cuda.max_memory_reserved() + CONTEXT, total


def _speed(options: Options, batch_size: int, start: float) -> float:
    return _train(options, batch_size, start, SECONDS)


def _train(options: Options, batch_size: int, begin: float, seconds: float) -> float:
    """Train on noise and return clips/s.

    Args:
        options: of the trial.
        batch_size: of the trial.
        begin: start of all simultaneous measurements, in s since 1970; earlier steps warm up.
        seconds: of the measurement.
    """
    device = best_device()
    encoder = noise_encoder(options).to(device).train()
    front = frontend(options).to(device)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    waves = torch.randn(batch_size, options.segment, device=device)
    half = device.type == "cuda" and options.precision != "fp32"
    steps, start, end = -3, 0.0, 0.0
    while steps < 1 or end - start < seconds:
        if steps == 0:
            time.sleep(max(0.0, begin - time.time()))
            start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = noise_loss(options, encoder, front(waves))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        steps, end = steps + 1, time.perf_counter()
    return steps * batch_size / (end - start)
