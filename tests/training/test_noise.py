"""Trainings on noise, by which the cost of a training is measured."""

import pytest
import torch

from raysearch.training.conditions import TRAINED
from raysearch.training.noise import NoiseTraining
from tests.tiny import TINY


@pytest.mark.parametrize("method", sorted(map(str, TRAINED)))
def test_noise_trains_every_parameter(method: str) -> None:
    training = NoiseTraining(TINY.replace({"method": method}), 12)
    before = [parameter.detach().clone() for parameter in training.encoder.parameters()]
    assert training.run(0.0) > 0
    for parameter, earlier in zip(training.encoder.parameters(), before, strict=True):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert not torch.equal(parameter, earlier)


def test_a_speed_is_that_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    training = NoiseTraining(TINY, 8)
    # A clock that advances by a quarter of a second with every look at it.
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks) / 4)
    assert training.run(1.0) == 4 * 8 / 1.0


def test_a_cpu_has_no_gpu_memory() -> None:
    if not torch.cuda.is_available():
        assert NoiseTraining(TINY, 8).memory() == (0, 0)
