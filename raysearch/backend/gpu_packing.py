"""How many trials fit on one GPU, and whether more of them at once get more done: measured once.

Small batches leave most of a GPU idle; several trials side by side fill it, until its memory or
its throughput is at its end.
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
from raysearch.methods.proposed import machine_loss
from raysearch.training.network import best_device, frontend, new_encoder

COUNTS = (1, 2, 3, 4, 6, 8)
"""Trials on one GPU that are tried."""

GAIN = 1.1
"""How much more all must get done for one step further; below, only waiting is shared out."""

CONTEXT = 600 * 2**20
"""Bytes that a process holds on a GPU beside its tensors: context, libraries, fragments."""

SECONDS = 5.0
"""Of each measurement."""

WARM_UP = 30.0
"""Seconds in which every process that is measured has imported torch and taken its first steps."""


def pack(options: Options, batch_size: int, nodes: Sequence[Node]) -> float | None:
    """Measures what part of a GPU a trial should hold.

    Args:
        options: of the trials that are packed.
        batch_size: the largest of the space, which needs the most memory.
        nodes: of the cluster.

    Returns:
        1 / trials on one GPU; None without GPUs.
    """
    if not any(node.gpus for node in nodes):
        return None
    group = placement_group([{"GPU": 1}])
    try:
        return 1 / _measured(options, batch_size, group)
    finally:
        remove_placement_group(group)


def _measured(options: Options, batch_size: int, group: PlacementGroup) -> int:
    memory, total = ray.get(_on_gpu(group, 1.0, _memory).remote(options, batch_size))
    speeds: dict[int, float] = {}
    for count in fitting(memory, total):
        step, start = _on_gpu(group, 1 / count, _speed), time.time() + WARM_UP
        try:
            found = ray.get([step.remote(options, batch_size, start) for _ in range(count)])
        except ray.exceptions.RayTaskError:
            # Memory is not quite what one trial alone made believe.
            break
        speeds[count] = sum(found)
        if best_count(speeds) != count:
            break
    return best_count(speeds) if speeds else 1


def fitting(memory: int, total: int) -> list[int]:
    """How many trials may be tried on a GPU by its memory; one at least.

    Args:
        memory: bytes of one trial.
        total: bytes of the GPU.
    """
    return [count for count in COUNTS if count == 1 or count * memory <= 0.9 * total]


def best_count(speeds: Mapping[int, float]) -> int:
    """The count up to which every step was worth it.

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
    here = PlacementGroupSchedulingStrategy(group)
    return ray.remote(num_gpus=share, num_cpus=0, max_calls=1, scheduling_strategy=here)(function)


def _memory(options: Options, batch_size: int) -> tuple[int, int]:
    """Bytes on the GPU that training takes, and bytes that the GPU has."""
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
    """Trains on noise; returns clips/s.

    Args:
        options: of the trial.
        batch_size: of the trial.
        begin: when all begin who are measured together, in s since 1970; before, steps warm up.
        seconds: of the measurement.
    """
    device = best_device()
    encoder = new_encoder(options, 3, pretrained=False).to(device).train()
    front = frontend(options).to(device)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    waves = torch.randn(batch_size, options.segment, device=device)
    targets = torch.rand(batch_size, device=device)
    half = device.type == "cuda" and options.precision != "fp32"
    steps, start, end = -3, 0.0, 0.0
    while steps < 1 or end - start < seconds:
        if steps == 0:
            time.sleep(max(0.0, begin - time.time()))
            start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            embeddings = encoder.embed(front(waves))
        _, logits = encoder.heads(embeddings)
        optimiser.zero_grad(set_to_none=True)
        machine_loss(logits, targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        steps, end = steps + 1, time.perf_counter()
    return steps * batch_size / (end - start)
