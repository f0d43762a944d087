"""Collective communication between the workers of one trial.

The only module that uses torch.distributed. The launcher of the workers creates the process group;
without a group this process is rank 0 of world size 1, and no function communicates. All workers
must call a collective function, in the same order.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


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
