"""The loss of noise, by which the cost of a training is measured."""

import pytest
import torch

from raysearch.training.conditions import TRAINED
from raysearch.training.network import noise_encoder, noise_loss
from tests.tiny import TINY


@pytest.mark.parametrize("method", sorted(map(str, TRAINED)))
def test_noise_trains_every_parameter(method: str) -> None:
    options = TINY.replace({"method": method})
    encoder = noise_encoder(options)
    loss = noise_loss(options, encoder, torch.randn(12, 1, 32, 32))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in encoder.parameters())
