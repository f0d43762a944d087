"""Clip scores from segment scores."""

from typing import Any

import numpy as np
import pytest

from raysearch.config import Options
from raysearch.scoring import aggregate as module
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import INLIERS

MIXTURES = ("gmm", "gmm_diag", "gmm_tied")
SEGMENTS = np.array(
    [
        [1.0, 9.0, 2.0, 5.0],  # median 3.5: mean of 9 and 5
        [3.0, 1.0, 2.0, 2.0],  # median 2: 3 alone
        [1.0, 2.0, 2.0, 2.0],  # median 2, none above it
        [4.0, 4.0, 4.0, 4.0],
    ]
)
ABOVE_MEDIAN, MEAN, MAX = [7.0, 3.0, 2.0, 4.0], [4.25, 2.0, 1.75, 4.0], [9.0, 3.0, 2.0, 4.0]


def aggregate(name: str, segments: Floats, aggregators: Any) -> Floats:
    """Aggregate clips of equally many segments (C, S)."""
    clips, count = segments.shape
    return module.aggregate(name, segments.ravel(), np.full(clips, count), aggregators)


@pytest.mark.parametrize("name", INLIERS)
def test_as_in_the_paper_unless_told_otherwise(name: str) -> None:
    expected = ABOVE_MEDIAN if name in MIXTURES else MEAN
    np.testing.assert_allclose(aggregate(name, SEGMENTS, {}), expected)
    np.testing.assert_allclose(aggregate(name, SEGMENTS, Options().aggregator), expected)


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", MEAN), ("above_median", ABOVE_MEDIAN), ("max", MAX)]
)
@pytest.mark.parametrize("name", ["gmm", "lof"])
def test_as_it_was_chosen(name: str, how: Any, expected: list[float]) -> None:
    np.testing.assert_allclose(aggregate(name, SEGMENTS, {name: how}), expected)
    other = {"gmm": "lof", "lof": "gmm"}[name]
    unchanged = aggregate(name, SEGMENTS, {other: how})
    np.testing.assert_array_equal(unchanged, aggregate(name, SEGMENTS, {}))


@pytest.mark.parametrize("how", ["mean", "above_median", "max"])
def test_one_segment_is_the_clip(how: Any) -> None:
    scores = aggregate("gmm", np.array([[-3.0], [7.0]]), {"gmm": how})
    np.testing.assert_array_equal(scores, [-3.0, 7.0])


def test_an_odd_number_of_segments_leaves_the_median_out() -> None:
    np.testing.assert_allclose(aggregate("gmm", np.array([[5.0, 1.0, 3.0]]), {}), [5.0])


def test_the_anomalous_half_counts() -> None:
    """The published recipes take the most normal half by a sign error."""
    quiet, one_fault = np.zeros(10), np.r_[np.zeros(9), 10.0]
    np.testing.assert_array_equal(aggregate("gmm", np.stack([quiet, one_fault]), {}), [0.0, 10.0])


@pytest.mark.parametrize("how", ["mean", "above_median", "max"])
def test_clips_of_different_lengths_are_scored_each_by_itself(how: Any) -> None:
    clips = [SEGMENTS[0], SEGMENTS[1, :1], SEGMENTS[2, :3], SEGMENTS[3], SEGMENTS[1, 1:]]
    counts = np.array([len(clip) for clip in clips])
    together = module.aggregate("lof", np.concatenate(clips), counts, {"lof": how})
    alone = [aggregate("lof", clip[None], {"lof": how})[0] for clip in clips]
    np.testing.assert_array_equal(together, alone)
