"""Collective communication between the workers of one trial.

The only module that uses torch.distributed. The launcher of the workers lets them join a process
group; without a group this process is rank 0 of world size 1, and no function communicates. All
workers must call a collective function, in the same order.
"""

import os
import pickle
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

LOOPBACK = "127.0.0.1"

T = TypeVar("T")
_stores: list[Any] = []
"""The stores of this process; a store ends with its last reference."""


def rank() -> int:
    """Return the rank of this worker, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of workers of this trial."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shard() -> slice:
    """Return the slice of this worker's rows; shards are disjoint and differ by one row at most."""
    return slice(rank(), None, world_size())


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum a tensor over all workers, out of place. Collective."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return summed


def all_gather(results: Sequence[T], count: int) -> list[T]:
    """Gather the results of all workers' rows, in the order of the rows. Collective.

    Args:
        results: of the rows in this worker's `shard`, in their order.
        count: number of rows of all workers.
    """
    if world_size() == 1:
        return list(results)
    shards: list[Any] = [None] * world_size()
    dist.all_gather_object(shards, list(results))
    ordered: list[Any] = [None] * count
    for number, part in enumerate(shards):
        ordered[number :: world_size()] = part  # raises for another length: each row is there once
    return ordered


def broadcast(make: Callable[[], T]) -> T:
    """Run `make` on rank 0 and broadcast its result or exception. Collective.

    Raises:
        Exception: the exception of `make`, on every worker.
    """
    if world_size() == 1:
        return make()
    result_and_error: list[Any] = [None, None]
    if rank() == 0:
        try:
            result_and_error[0] = make()
        except Exception as error:
            dist.broadcast_object_list([None, _picklable(error)])
            raise
    dist.broadcast_object_list(result_and_error)
    if result_and_error[1] is not None:
        raise result_and_error[1]
    result: T = result_and_error[0]
    return result


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # nosec B301
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def open_store(host: str, workers: int) -> int:
    """Open the store at which the workers of a trial meet, on one address of this machine alone.

    A store has no password, and torch's own listens on all addresses.

    Args:
        host: address that all workers reach.
        workers: number of them.

    Returns:
        The port.
    """
    with socket.create_server((host, 0), backlog=max(128, workers)) as listener:
        port: int = listener.getsockname()[1]
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host,
            port,
            workers,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    _stores.append(store)
    return port


def join_group(
    address: tuple[str, int], rank: int, workers: int, backend: str, patience: float
) -> None:
    """Join the process group of a trial. Collective.

    Args:
        address: host and port of the store.
        rank: of this worker.
        workers: number of them.
        backend: of torch, `nccl` or `gloo`.
        patience: s that a worker waits for the others.
    """
    host, port = address
    if host == LOOPBACK:
        # Gloo would listen on the address of the machine's name.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.TCPStore(host, port, workers, is_master=False)  # type: ignore[attr-defined]
    timeout = timedelta(seconds=patience)
    dist.init_process_group(backend, store=store, rank=rank, world_size=workers, timeout=timeout)


def leave_group() -> None:
    """Leave the process group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()
    _stores.clear()
