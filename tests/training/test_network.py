"""The precision of scores, and the loss of noise, by which the cost of a training is measured."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from raysearch.training.conditions import TRAINED
from raysearch.training.network import full_precision, noise_encoder, noise_loss
from tests.tiny import TINY


@pytest.mark.parametrize("method", sorted(map(str, TRAINED)))
def test_noise_trains_every_parameter(method: str) -> None:
    options = TINY.replace({"method": method})
    encoder = noise_encoder(options)
    loss = noise_loss(options, encoder, torch.randn(12, 1, 32, 32))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in encoder.parameters())


BACKENDS: Any = torch.backends
SETTINGS = (
    *(BACKENDS.cudnn.conv, BACKENDS.cuda.matmul),
    *(BACKENDS.mkldnn.conv, BACKENDS.mkldnn.matmul),
)


def precisions() -> list[str]:
    return [setting.fp32_precision for setting in SETTINGS]


@pytest.fixture
def lowered() -> Iterator[list[str]]:
    """A program that trades precision for speed."""
    before = precisions()
    for setting, precision in zip(SETTINGS, ("tf32", "tf32", "bf16", "bf16"), strict=True):
        setting.fp32_precision = precision
    yield precisions()
    for setting, precision in zip(SETTINGS, before, strict=True):
        setting.fp32_precision = precision


def test_full_precision_holds_within_its_block_alone(lowered: list[str]) -> None:
    assert lowered == ["tf32", "tf32", "bf16", "bf16"]
    with full_precision():
        assert precisions() == ["ieee"] * 4
        with full_precision():
            pass
        assert precisions() == ["ieee"] * 4
    assert precisions() == lowered


def test_full_precision_ends_with_an_error(lowered: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), full_precision():
        raise KeyboardInterrupt
    assert precisions() == lowered
