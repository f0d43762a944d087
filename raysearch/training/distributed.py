"""The workers of one trial: who they are, and what they share.

The only module that knows torch.distributed. Whoever starts the workers makes the process group;
without one, a process is the first and only worker and every function here does nothing.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def rank() -> int:
    """Number of this worker, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many workers share this trial."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shard() -> slice:
    """This worker's share of any rows: each row has one worker, shares differ by one at most."""
    return slice(rank(), None, world_size())


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum over the workers; the tensor itself stays as it is."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return summed


def all_gather(share: Sequence[T], count: int) -> list[T]:
    """Puts the shares that `shard` cut back into their order, on every worker.

    Args:
        share: what this worker made of its rows, in their order.
        count: rows of all workers.
    """
    if world_size() == 1:
        return list(share)
    shares: list[Any] = [None] * world_size()
    dist.all_gather_object(shares, list(share))
    whole: list[Any] = [None] * count
    for number, part in enumerate(shares):
        whole[number :: world_size()] = part  # of another length is refused: each row once
    return whole


def broadcast(make: Callable[[], T]) -> T:
    """Has the first worker make something, and hands it to all; they meet here.

    Raises:
        Exception: whatever `make` raises, on every worker.
    """
    if world_size() == 1:
        return make()
    answer: list[Any] = [None, None]
    if rank() == 0:
        try:
            answer[0] = make()
        except Exception as error:
            dist.broadcast_object_list([None, _sendable(error)])
            raise
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    made: T = answer[0]
    return made


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
