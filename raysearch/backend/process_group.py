"""The process group of a trial's workers, on addresses that only their machines reach.

Ray's own group meets at a store that listens on all addresses of the machine of rank 0. A store has
no password: who reaches the port reads and changes what the workers tell each other.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

from raysearch.training.distributed import LOOPBACK, join_group, leave_group, open_store

PATIENCE = 30.0
"""Seconds that workers have to leave their group."""


@dataclass
class ClosedTorchConfig(TorchConfig):
    """Ray's configuration of a process group, with a store that does not listen everywhere."""

    @property
    def backend_cls(self) -> type[Any]:
        """Class that starts and ends the group."""
        return ClosedBackend


class ClosedBackend(Backend):
    """Start and end of a process group."""

    share_cuda_visible_devices: bool = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Open the store on rank 0, and let every worker join."""
        nodes = worker_group.execute(ray.util.get_node_ip_address)
        host = nodes[0] if len(set(nodes)) > 1 else LOOPBACK
        port = worker_group.execute_single(0, open_store, host, len(nodes))
        kind = "nccl" if worker_group.get_resources_per_worker().get("GPU") else "gloo"
        group = len(nodes), kind, backend_config.timeout_s
        joined = [
            worker_group.execute_single_async(rank, join_group, (host, port), rank, *group)
            for rank in range(len(nodes))
        ]
        ray.get(joined)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Let every worker leave the group."""
        # A lost worker does not answer, and the others may wait for it.
        with suppress(RayError):
            ray.get(worker_group.execute_async(leave_group), timeout=PATIENCE)
