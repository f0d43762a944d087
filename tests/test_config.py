"""Options: their bounds, and digests."""

from typing import Any

import pytest
from pydantic import ValidationError

from raysearch.config import SCORING_ONLY, Options, digest, explain
from raysearch.errors import UserError


def test_what_is_only_about_scoring_is_stated() -> None:
    assert {
        "segments",
        "inlier_fit",
        "reg_covar",
        "aggregator",
        "threshold_quantile",
        "ddcsad_score_weight",
        "test_domain",
    } == SCORING_ONLY


def test_a_digest_is_free_of_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert len(digest({})) == 12


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"f_min": 8000.0}, "f_min < f_max"),
        ({"rate": 8000}, "rate / 2 = 4000 Hz"),
        ({"segment_seconds": 0.05}, "longer than half of n_fft"),
        ({"epochs": 0}, "greater than 0"),
        ({"dropout": 1.0}, "less than 1"),
        ({"mixup_alpha": float("nan")}, "finite"),
        ({"mixup": "sometimes"}, "'constant', 'rise', 'decay' or 'off'"),
        ({"precision": "fp16"}, "'auto', 'fp32' or 'bf16'"),
        ({"learning": 1}, "unknown key"),
        ({"covariance": "diag"}, "covariance: unknown key"),
        ({"aggregator": "max"}, "aggregator: Input should be a valid dictionary"),
        ({"aggregator": {"gmm": "median"}}, "gmm: Input should be 'mean', 'above_median' or 'max'"),
        ({"aggregator": {"gmmm": "max"}}, "gmmm"),
        ({"aggregator": {"gmmm": "max"}}, "Input should be 'gmm', 'gmm_diag'"),
        ({"aggregator": {"gmm": None}}, "aggregator.gmm: "),
    ],
    ids=str,
)
def test_senseless_options_are_refused_in_one_line(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Options(**options)
    error = explain(caught.value, "space.yaml")
    assert isinstance(error, UserError)
    assert str(error).startswith("space.yaml: ")
    assert problem in str(error)
    assert "\n" not in str(error)


def test_a_segment_is_counted_in_samples() -> None:
    assert Options().segment == 32000
    assert Options(rate=22050, segment_seconds=0.1).segment == 2205
