"""The precision of scores."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from raysearch.training.network import full_precision

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
