"""What a trial holds, and how many run at once."""

import pytest
import torch

from raysearch.errors import UserError
from raysearch.search.resources import Resources, check_gpus, fit


@pytest.mark.parametrize(
    ("asked", "gpus_there", "cpus_there", "expected"),
    [
        # Nothing asked: a GPU each where there are GPUs, else a CPU each.
        (Resources(), 0, 1, (0, 1, 1)),
        (Resources(), 0, 8, (0, 1, 8)),
        (Resources(), 1, 8, (1, 8, 1)),
        (Resources(), 4, 32, (1, 8, 4)),
        (Resources(), 4, 2, (1, 1, 2)),  # more GPUs than CPUs
        # Fractions pack trials on a GPU; none spans two.
        (Resources(gpus=0.25), 1, 16, (0.25, 4, 4)),
        (Resources(gpus=0.25), 2, 16, (0.25, 2, 8)),
        (Resources(gpus=0.3), 4, 64, (0.3, 5, 12)),
        (Resources(gpus=0.7), 4, 64, (0.7, 16, 4)),
        (Resources(gpus=0.1), 1, 20, (0.1, 2, 10)),
        (Resources(gpus=1), 3, 6, (1, 2, 3)),
        (Resources(gpus=2), 4, 16, (2, 8, 2)),
        (Resources(gpus=2), 5, 16, (2, 8, 2)),
        (Resources(gpus=0), 4, 16, (0, 1, 16)),  # leaves the GPUs alone
        # Fewer at once have more CPUs each.
        (Resources(concurrent=1), 0, 8, (0, 8, 1)),
        (Resources(concurrent=3), 0, 8, (0, 2, 3)),
        (Resources(concurrent=100), 0, 8, (0, 1, 8)),
        (Resources(concurrent=2), 4, 32, (1, 16, 2)),
        # CPUs that were asked for bound how many fit.
        (Resources(cpus=3), 0, 8, (0, 3, 2)),
        (Resources(cpus=8), 0, 8, (0, 8, 1)),
        (Resources(cpus=4, concurrent=4), 0, 8, (0, 4, 2)),
        (Resources(gpus=0.25, cpus=8), 2, 16, (0.25, 8, 2)),
    ],
)
def test_a_trial_is_fitted_to_the_cluster(asked, gpus_there, cpus_there, expected):
    gpus, cpus, concurrent = fit(asked, gpus_there, cpus_there)
    assert (gpus, cpus, concurrent) == expected
    assert cpus * concurrent <= cpus_there
    assert gpus * concurrent <= gpus_there


@pytest.mark.parametrize(
    ("asked", "gpus_there", "message"),
    [
        (Resources(gpus=1), 0, "--gpus-per-trial 1: this machine has no GPU; leave the flag out"),
        (Resources(gpus=0.5), 0, "--gpus-per-trial 0.5: this machine has no GPU;"),
        (Resources(gpus=2), 1, "--gpus-per-trial 2: this machine has 1 GPU;"),
        (Resources(gpus=8), 4, "--gpus-per-trial 8: this machine has 4 GPUs;"),
        (Resources(gpus=1.5), 4, "--gpus-per-trial 1.5: more than one GPU must be a whole number"),
        (Resources(cpus=9), 0, "--cpus-per-trial 9: there are 8 CPUs here"),
    ],
)
def test_what_can_never_run_is_refused(asked, gpus_there, message):
    with pytest.raises(UserError) as caught:
        fit(asked, gpus_there, 8)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_gpus_are_checked_before_anything_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    there = torch.cuda.device_count()
    check_gpus(Resources())
    check_gpus(Resources(gpus=there))
    with pytest.raises(UserError, match=f"^--gpus-per-trial {there + 1}: this machine has "):
        check_gpus(Resources(gpus=there + 1))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")  # the GPUs may be on other machines
    check_gpus(Resources(gpus=there + 1))
