"""Divergence of a training, also where losses are negative."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import TrialError
from raysearch.training.divergence import FAILED, HOPELESS, Divergence
from raysearch.training.outcome import Epoch

EPOCH = Epoch(1, 1.0, None, None, 1.0, None, None, 1e-3, 1.0)
LOSSES = st.floats(-1e6, 1e6)


def after(untrained: float | None, *losses: float) -> Divergence:
    return Divergence.of(untrained, [replace(EPOCH, val_loss=loss) for loss in losses])


@pytest.mark.parametrize(
    ("untrained", "least", "failed"),
    [
        (1.5, 14.9, False),
        (1.5, 15.1, True),
        (6931.0, 1.5e9, True),
        (-2.0, -1.9, False),
        (-2.0, 15.9, False),  # -2 + 9 * 2 = 16
        (-2.0, 16.1, True),
    ],
)
def test_ten_times_the_loss_of_the_untrained_network_is_too_much(
    untrained: float, least: float, failed: bool
) -> None:
    divergence = after(untrained, 1e9, least, 1e8)
    assert divergence.exceeds(FAILED) == failed
    if failed:
        with pytest.raises(TrialError, match=r"^the loss diverged: on the held-out clips it is"):
            divergence.refuse(FAILED)


@given(LOSSES, LOSSES)
def test_a_loss_that_fell_is_neither_refused_nor_remarked(untrained: float, least: float) -> None:
    divergence = after(untrained, least)
    assert (divergence.remark == "") == (least <= untrained)
    if least <= untrained:
        divergence.refuse(FAILED)
    if divergence.exceeds(HOPELESS):
        assert divergence.exceeds(FAILED)


def test_nothing_is_known_before_the_first_epoch_or_of_earlier_versions() -> None:
    for divergence in (after(1.0), after(None, 1e9), after(None)):
        assert not divergence.exceeds(FAILED)
        assert divergence.remark == ""
