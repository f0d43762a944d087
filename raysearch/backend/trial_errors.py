"""The errors that are a trial's, and those that are failures of a machine or of the storage."""

import torch

from raysearch.backend.resources import Share
from raysearch.errors import DamageError, MemoryLimitError, TrialError, UserError

SLACK = 0.1
"""Part of a GPU's memory that contexts of CUDA and fragments of others may hold."""


def is_of_trial(error: Exception, share: Share) -> bool:
    """Return True if an error is the trial's, wherever it is run.

    These are a diverged loss, a configuration that cannot be trained, and memory that the trial
    alone exhausts. All others are failures of the machine or of the storage, as is a damaged file.

    Args:
        error: that ended the trial.
        share: of the cluster that the trial holds.
    """
    if isinstance(error, MemoryLimitError | torch.OutOfMemoryError):
        return _exceeds_share(share)
    if isinstance(error, DamageError):
        return False
    return isinstance(error, TrialError | UserError) and not _is_of_storage(error)


def _is_of_storage(error: BaseException) -> bool:
    """Return True if an error of the storage is among the causes of an error."""
    cause = error.__cause__
    return cause is not None and (isinstance(cause, OSError) or _is_of_storage(cause))


def _exceeds_share(share: Share) -> bool:
    """Return True if this process had all of its part of the GPU's memory."""
    if not (share.gpus and torch.cuda.is_available()):
        return True
    free, total = torch.cuda.mem_get_info()
    return is_alone(free, total, torch.cuda.memory_reserved(), share.gpus)


def is_alone(free: int, total: int, reserved: int, gpus: float) -> bool:
    """Return True if others hold no more of a GPU's memory than the part that is theirs.

    Args:
        free: bytes of the GPU that nobody holds.
        total: bytes of the GPU.
        reserved: bytes that the trial holds.
        gpus: part of the GPU that is the trial's.
    """
    return total - free - reserved <= (1 - gpus + SLACK) * total
