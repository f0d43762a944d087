"""Resources of a trial, and the number of trials at once."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysearch.errors import UserError


@dataclass(frozen=True)
class Resources:
    """Requested resources of a trial, and the number of trials at once.

    Attributes:
        gpus: of a trial; a fraction packs several on one GPU, "auto" measures how many to pack;
            None takes one per worker where there are GPUs.
        cpus: of a trial; None divides the CPUs.
        concurrent: trials at once; None takes as many as fit.
        workers: processes that train one trial together.
    """

    gpus: float | Literal["auto"] | None = None
    cpus: int | None = None
    concurrent: int | None = None
    workers: int = 1


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that was joined or started.

    Attributes:
        address: of a cluster that was joined; empty for one that ends with this process.
        dashboard: address of its dashboard, empty if there is none.
        nodes: machines of the cluster, or those that it may grow to.
    """

    address: str
    dashboard: str
    nodes: tuple[Node, ...]

    @property
    def where(self) -> str:
        """Name of the cluster in messages."""
        return "the cluster" if self.address else "this machine"


@dataclass(frozen=True)
class Share:
    """Resources that each trial gets.

    Attributes:
        workers: processes of a trial.
        cpus: of a worker.
        gpus: of a worker.
        concurrent: trials at once.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int

    @property
    def devices(self) -> float:
        """GPUs of a trial, or its worker processes where they train on CPUs."""
        return self.workers * (self.gpus or 1.0)


def check_gpus(resources: Resources, address: str) -> None:
    """Refuse GPUs that this machine does not have, before anything is started.

    Args:
        resources: requested ones.
        address: of the cluster that will be joined, whose GPUs are elsewhere; empty if none.

    Raises:
        UserError: more GPUs are requested than there are, or flags contradict each other.
    """
    gpus = _requested_gpus(resources)
    if gpus and not address:
        _refuse_gpus(gpus, largest_gpu_count())


def largest_gpu_count(devices: Path = Path("/dev")) -> float:
    """Return the largest possible number of GPUs of this machine, from its device files alone.

    Ray counts them exactly once it has started. Torch, which counts them too, takes seconds to
    import.
    """
    # The device files of AMD's driver, and of Windows' under WSL, do not tell the number.
    if any((devices / name).exists() for name in ("kfd", "dxg")):
        return math.inf
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = None if visible is None else [name for name in visible.split(",") if name.strip()]
    if named and named[0].startswith("MIG"):
        return len(named)
    present = len(list(devices.glob("nvidia[0-9]*")))
    return present if named is None else min(present, len(named))


def _requested_gpus(resources: Resources) -> float | None:
    """Return the requested GPUs of a trial; None if the request leaves them open.

    Raises:
        UserError: they cannot be divided among its workers.
    """
    gpus = resources.gpus
    if gpus == "auto" and resources.workers > 1:
        raise UserError(
            f"--workers-per-trial {resources.workers} with --gpus-per-trial auto: workers hold one "
            "GPU each, so leave one of the two out"
        )
    if gpus is None or gpus == "auto":
        return None
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus-per-trial {gpus:g}: more than one GPU must be a whole number")
    if resources.workers > 1 and gpus not in (0, resources.workers):
        raise UserError(
            f"--workers-per-trial {resources.workers} with --gpus-per-trial {gpus:g}: each worker "
            "holds one GPU, so leave one of the two out"
        )
    return gpus


def _refuse_gpus(requested: float, present: float, where: str = "this machine") -> None:
    if requested > present:
        have = "no GPU" if not present else f"{present:g} GPU" + ("" if present == 1 else "s")
        raise UserError(
            f"--gpus-per-trial {requested:g}: {where} has {have}; leave the flag out to train "
            "on what there is"
        )


def allocate(resources: Resources, nodes: Sequence[Node], where: str = "this machine") -> Share:
    """Fit a trial's resources to the machines of the cluster.

    A worker runs on one machine and uses at most one GPU. The workers of a trial may run on several
    machines.

    Args:
        resources: requested ones.
        nodes: machines of the cluster, or those that it may grow to.
        where: name of the cluster in messages.

    Raises:
        UserError: the cluster can never run such a trial.
    """
    present = sum(node.gpus for node in nodes)
    requested = _requested_gpus(resources)
    if requested is not None:
        _refuse_gpus(requested, present, where)
    workers = max(resources.workers, int(requested or 0))
    gpus = min(1.0, present if requested is None else requested)
    # Workers that a machine's GPUs or, without one each, its CPUs can take.
    able = [(node, slots) for node in nodes if (slots := _slots(node, gpus))]
    total = sum(slots for _, slots in able)
    if total < workers:
        what = "GPUs" if gpus else "CPUs"
        raise UserError(f"{workers} workers of a trial: {where} has {what} for {total}")
    wanted = min(total, (resources.concurrent or total) * workers)
    cpus = _cpus(resources, workers, able, wanted)
    room = sum(min(slots, node.cpus // cpus) for node, slots in able)
    if room < workers:
        most = max(node.cpus for node, _ in able)
        flag = f"--cpus-per-trial {resources.cpus}: " if resources.cpus else ""
        raise UserError(
            f"{flag}there are {most} CPUs on a machine here, room for {room} of "
            f"{workers} workers with {cpus} each"
        )
    return Share(workers, cpus, gpus, min(wanted, room) // workers)


def _slots(node: Node, gpus: float) -> int:
    return node.gpus * int(1 / gpus) if gpus else node.cpus


def _cpus(resources: Resources, workers: int, able: Sequence[tuple[Node, int]], wanted: int) -> int:
    """Return the CPUs of a worker: as requested, else an even share of the fullest machine."""
    if resources.cpus is not None:
        return max(1, resources.cpus // workers)
    per_node = -(-wanted // len(able))
    return max(1, min(node.cpus // min(slots, per_node) for node, slots in able))


def autoscaled_nodes(config: Mapping[str, Any]) -> list[Node]:
    """List the machines that an autoscaling cluster may have, by the cluster file on its head.

    A cluster that grows from zero shows no GPU until a trial asks for one.
    """
    heads: list[Node] = []
    workers: list[Node] = []
    for name, kind in config.get("available_node_types", {}).items():
        resources = kind.get("resources", {})
        count = 1 if name == config.get("head_node_type") else int(kind.get("max_workers", 0))
        node = Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))
        (heads if name == config.get("head_node_type") else workers).extend([node] * count)
    # Most GPUs first: the file bounds the workers of all kinds together, too.
    workers.sort(key=lambda node: (node.gpus, node.cpus), reverse=True)
    return heads + workers[: int(config.get("max_workers", len(workers)))]
