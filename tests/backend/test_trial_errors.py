"""Which errors are the trial's, wherever it is run."""

import pytest
import torch

from raysearch.backend.resources import Share
from raysearch.backend.trial_errors import is_alone, is_of_trial
from raysearch.errors import DamageError, MachineError, MemoryLimitError, TrialError, UserError

SHARE = Share(workers=1, cpus=1, gpus=0.0, concurrent=1)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TrialError("the loss diverged"), True),
        (UserError("backbone: timm has no model x"), True),
        (MemoryLimitError("out of GPU memory"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (DamageError("reference.json: damaged"), False),
        (MachineError("no data set"), False),
        (OSError(116, "Stale file handle"), False),
        (OSError(28, "No space left on device"), False),
        (TimeoutError("timed out"), False),
        (RuntimeError("CUDA error: an illegal memory access"), False),
        (MemoryError(), False),
        (caused(UserError("not a readable checkpoint"), OSError(5, "I/O error")), False),
        (caused(UserError("not a readable checkpoint"), ValueError("no header")), True),
    ],
)
def test_only_what_a_trial_would_do_anywhere_is_its_own(error: Exception, expected: bool) -> None:
    assert is_of_trial(error, SHARE) is expected


GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "reserved", "gpus", "expected"),
    [
        (1, 78, 1.0, True),  # a whole GPU, filled by the trial
        (1, 39, 1.0, False),  # another process holds half of it
        (1, 20, 0.25, True),  # others hold what is theirs
        (1, 2, 0.25, False),  # others hold more than theirs
    ],
)
def test_memory_is_the_trials_if_others_keep_to_their_part(
    free: int, reserved: int, gpus: float, expected: bool
) -> None:
    assert is_alone(free * GIB, 80 * GIB, reserved * GIB, gpus) is expected
