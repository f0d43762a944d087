"""Lists as ranges: bounds, and the entry of each draw."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.search.dimensions import Axis, axes, p_axes
from tests.records import make_space

NUMBERS = st.floats(1e-6, 1e6)


def axis(value: object) -> Axis:
    return axes(make_space(lr=value))["lr"]


def test_a_range_is_sampled_unchanged() -> None:
    searched = axis({"low": 1e-4, "high": 1e-2, "log": True})
    assert searched == Axis(1e-4, 1e-2, True)
    assert [searched.nearest(v) for v in (2e-3, 1.0, 1e-9)] == [2e-3, 1e-2, 1e-4]


@given(st.lists(NUMBERS, min_size=1, max_size=8, unique=True), NUMBERS)
def test_a_draw_goes_to_the_nearest_entry(values: list[float], drawn: float) -> None:
    searched = axis(values)
    distances = {v: abs(math.log(v) - math.log(drawn)) for v in values}
    nearest = searched.nearest(drawn)
    assert nearest in values
    assert distances[float(nearest)] == pytest.approx(min(distances.values()))


@given(st.lists(NUMBERS, min_size=1, max_size=8, unique=True))
def test_every_entry_can_be_drawn_and_goes_to_itself(values: list[float]) -> None:
    searched = axis(values)
    for value in values:
        assert searched.low <= value <= searched.high
        assert searched.nearest(value) == value


def test_entries_evenly_apart_have_even_shares() -> None:
    searched = axes(make_space(batch_size=[32, 64, 128]))["batch_size"]
    low, high = math.log2(searched.low), math.log2(searched.high)
    assert [low, high] == pytest.approx([4.5, 7.5])
    draws = [searched.nearest(2 ** (low + (high - low) * (k + 0.5) / 300)) for k in range(300)]
    assert [draws.count(size) for size in (32, 64, 128)] == [100, 100, 100]


def test_a_list_with_zero_is_linear() -> None:
    search: dict[str, Any] = {"lambda": [0.0, 1.0, 2.0]}
    searched = axes(make_space(**search))["lambda"]
    assert (searched.low, searched.high, searched.log) == (-0.5, 2.5, False)
    assert [searched.nearest(v) for v in (-0.4, 0.6, 9.0)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("log", [False, True])
def test_batch_sizes_of_a_range_are_even(log: bool) -> None:
    searched = axes(make_space(batch_size={"low": 8, "high": 64, "log": log}))["batch_size"]
    assert (searched.low, searched.high, searched.log) == (8, 64, log)
    assert searched.values == range(8, 65, 2)
    assert [searched.nearest(v) for v in (8.0, 9.2, 63.9)] == [8, 10, 64]


def test_inlier_models_without_p_have_no_axis() -> None:
    axis_of = p_axes(make_space())
    assert {name: list(p_axis.values or ()) for name, p_axis in axis_of.items()} == {
        "gmm": [1, 2, 4],
        "lof": [4, 8],
    }
