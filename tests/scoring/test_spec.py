"""Which p belongs to which inlier model."""

import math
from typing import Any

import pytest

from raysearch.errors import UserError
from raysearch.scoring import spec
from raysearch.scoring.spec import COUNTING, INLIERS, InlierSpec

ALLOWED: dict[str, list[Any]] = {name: [1, 64, 10**6] for name in COUNTING} | {
    "mahalanobis": [0, 0.0, 1e-3, 1, 1.0],
    "pca": [1e-6, 0.5, 0.999],
    "ocsvm": [1e-6, 0.5, 0.999],
    "kde": [0.001, 1, 2.5, 1000],
    "none": [None],
}
REFUSED: dict[str, tuple[list[Any], str]] = {
    name: ([0, -1, 2.0, 2.5], "an integer p >= 1") for name in COUNTING
} | {
    "mahalanobis": ([-0.1, 1.1, 2], "a shrinkage 0 <= p <= 1"),
    "pca": ([0, 0.0, 1, 1.0, 8], "a share of the variance 0 < p < 1"),
    "ocsvm": ([0, 1, 1.5], "a share of outliers 0 < p < 1"),
    "kde": ([0, -1, 1e-4, 1e4], "a relative bandwidth 0.001 <= p <= 1000"),
}


def test_every_model_is_tried_and_documented() -> None:
    assert ALLOWED.keys() == set(INLIERS)
    table = [line.split() for line in (spec.__doc__ or "").splitlines() if line.startswith("  ")]
    assert [row[0] for row in table] == ["model", *INLIERS]


@pytest.mark.parametrize("name", INLIERS)
def test_p_of_its_range_belongs_to_it(name: str) -> None:
    for p in ALLOWED[name]:
        assert InlierSpec(name, p).p == p


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("p", [None, True, "4", math.nan, math.inf, -math.inf])
def test_what_is_no_number_belongs_to_none(name: str, p: Any) -> None:
    with pytest.raises(UserError, match=f"inlier model {name} needs "):
        InlierSpec(name, p)


@pytest.mark.parametrize("name", REFUSED)
def test_other_p_is_refused_in_one_line(name: str) -> None:
    values, needed = REFUSED[name]
    for p in values:
        with pytest.raises(UserError) as caught:
            InlierSpec(name, p)
        assert str(caught.value) == f"inlier model {name} needs {needed}, got p={p!r}"


def test_none_takes_no_p() -> None:
    with pytest.raises(UserError, match="none takes no p, got p=2: leave it out"):
        InlierSpec("none", 2)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown inlier model 'knnn': choose from gmm, .*, none"):
        InlierSpec("knnn", 3)


def test_a_spec_reads_as_people_write_it() -> None:
    assert str(InlierSpec("kde", 0.5)) == "kde with p=0.5"
    assert str(InlierSpec("none", None)) == "none"
