"""Aggregation of the scores of a clip's segments to the score of the clip."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.config import Aggregator
from raysearch.scoring.metrics import Floats


def aggregate(
    inlier: str,
    segment_scores: NDArray[Any],
    counts: NDArray[np.int64],
    aggregators: Mapping[Any, Aggregator],
) -> Floats:
    """Return clip scores (C,) from the scores (N,) of all their segments by an inlier model.

    Besides `mean` and `max` there is `above_median`: the mean of the scores strictly above the
    clip's median, or the median if there are none (all equal, or one segment).

    Args:
        inlier: name of the model.
        segment_scores: clip by clip, higher = more anomalous.
        counts: number of segments of each clip (C,), at least 1 each, N together.
        aggregators: by model; the default is the paper's: `above_median` for Gaussian mixtures,
            `mean` for all other models.
    """
    scores = np.asarray(segment_scores, dtype=np.float64)
    assert scores.shape == (counts.sum(),), (scores.shape, counts)
    assert (counts > 0).all(), counts
    how = aggregators.get(inlier, "above_median" if inlier.startswith("gmm") else "mean")
    starts = np.cumsum(counts) - counts
    values = np.empty(counts.size)
    for count in np.unique(counts):
        clips = counts == count
        values[clips] = _aggregate(scores[starts[clips, None] + np.arange(count)], how)
    return values


def _aggregate(scores: Floats, how: Aggregator) -> Floats:
    """Return clip scores (C,) from segment scores (C, S)."""
    match how:
        case "max":
            return np.asarray(scores.max(axis=1))
        case "mean":
            return np.asarray(scores.mean(axis=1))
    median = np.median(scores, axis=1)
    above = scores > median[:, None]
    count = above.sum(axis=1)
    total = np.where(above, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), median)
