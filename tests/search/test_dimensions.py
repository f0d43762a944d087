"""Lists as ranges: bounds, and the entry of each draw."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.search.dimensions import (
    Axis,
    Choice,
    axes,
    combinations,
    is_conditional,
    is_exhausted,
    p_axes,
)
from raysearch.training.conditions import dependences
from raysearch.training.configuration import Configuration
from tests.records import make_space

NUMBERS = st.floats(1e-6, 1e6)


def numbers(name: str, **search: Any) -> Axis:
    """Return a dimension of numbers."""
    dimension = axes(make_space(**search))[name]
    assert isinstance(dimension, Axis)
    return dimension


def axis(value: object) -> Axis:
    return numbers("lr", lr=value)


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
    searched = numbers("batch_size", batch_size=[32, 64, 128])
    low, high = math.log2(searched.low), math.log2(searched.high)
    assert [low, high] == pytest.approx([4.5, 7.5])
    draws = [searched.nearest(2 ** (low + (high - low) * (k + 0.5) / 300)) for k in range(300)]
    assert [draws.count(size) for size in (32, 64, 128)] == [100, 100, 100]


def test_a_list_with_zero_is_linear() -> None:
    search: dict[str, Any] = {"lambda": [0.0, 1.0, 2.0]}
    searched = numbers("lambda", **search)
    assert (searched.low, searched.high, searched.log) == (-0.5, 2.5, False)
    assert [searched.nearest(v) for v in (-0.4, 0.6, 9.0)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("log", [False, True])
def test_batch_sizes_of_a_range_are_even(log: bool) -> None:
    searched = numbers("batch_size", batch_size={"low": 8, "high": 64, "log": log})
    assert (searched.low, searched.high, searched.log) == (8, 64, log)
    assert searched.values == range(8, 65, 2)
    assert [searched.nearest(v) for v in (8.0, 9.2, 63.9)] == [8, 10, 64]


def test_inlier_models_without_p_have_no_axis() -> None:
    axis_of = p_axes(make_space())
    assert {name: list(p_axis.values or ()) for name, p_axis in axis_of.items()} == {
        "gmm": [1, 2, 4],
        "lof": [4, 8],
    }


# Searched options

METHODS: dict[str, Any] = {
    "lr": [1e-3],
    "batch_size": [16],
    "lambda": [1.0, 10.0],
    "method": ["proposed", "serial", "serial_aam"],
    "mixup": ["constant", "off"],
    "mixup_alpha": [0.1, 0.2, 0.4],
    "aam_margin": [0.2, 0.5],
}


def test_a_choice_has_no_order() -> None:
    dimension = axes(make_space(mixup=["constant", False]))["mixup"]
    assert dimension == Choice(("constant", "off"))
    assert [dimension.nearest(value) for value in ("off", "rise")] == ["off", "constant"]


@pytest.mark.parametrize(
    ("name", "searched", "expected"),
    [
        ("embedding", [64, 128, 256], [64, 128, 256]),
        ("embedding", {"low": 2, "high": 5}, [2, 3, 4, 5]),
        ("weight_decay", ["1e-3", 0.1], [1e-3, 0.1]),
    ],
)
def test_numbers_keep_their_type(name: str, searched: object, expected: list[object]) -> None:
    dimension = numbers(name, **{name: searched})
    assert list(dimension.values or ()) == expected
    assert {type(value) for value in dimension.values or ()} == {type(expected[0])}


def test_a_range_of_real_numbers_is_sampled_unchanged() -> None:
    searched = {"low": 1e-4, "high": 1e-2, "log": True}
    assert numbers("weight_decay", weight_decay=searched) == Axis(1e-4, 1e-2, True)


def test_a_dimension_stands_after_those_that_it_depends_on() -> None:
    names = list(axes(make_space(**METHODS)))
    for name in names:
        for option in set(dependences(name)) & set(names):
            assert names.index(option) < names.index(name)


def test_combinations_have_only_what_has_an_effect() -> None:
    space = make_space(**METHODS)
    listed = list(combinations(space, axes(space)))
    by_method = Counter(str(values["method"]) for values in listed)
    # lambda x (mixup off, or mixup on x alpha); nothing; margin.
    assert by_method == {"proposed": 2 * (1 + 3), "serial": 1, "serial_aam": 2}
    for values in listed:
        assert ("lambda" in values) == (values["method"] == "proposed")
        assert ("mixup_alpha" in values) == (values.get("mixup") == "constant")
        assert ("aam_margin" in values) == (values["method"] == "serial_aam")
    keys = {Configuration.from_dict(values) for values in listed}
    assert len(keys) == len(listed) == 11
    assert not is_exhausted(space, range(10))
    assert is_exhausted(space, range(11))


def test_only_a_dimension_of_some_methods_makes_a_space_conditional() -> None:
    assert is_conditional(make_space(**METHODS))
    assert not is_conditional(make_space(embedding=[64, 128], weight_decay=[0.0, 1e-4]))
    assert not is_conditional(make_space(mixup=["constant", "off"]))
