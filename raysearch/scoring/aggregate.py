"""Aggregation of the scores of a clip's segments to the score of the clip."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.config import Aggregator
from raysearch.scoring.metrics import Floats


def aggregate(
    inlier: str, segment_scores: NDArray[Any], aggregators: Mapping[Any, Aggregator]
) -> Floats:
    """Return clip scores (C,) from segment scores (C, S) of an inlier model.

    Besides `mean` and `max` there is `above_median`: the mean of the scores strictly above the
    clip's median, or the median if there are none (all equal, or one segment).

    Args:
        inlier: name of the model.
        segment_scores: higher = more anomalous.
        aggregators: by model; the default is the paper's: `above_median` for Gaussian mixtures,
            `mean` for all other models.
    """
    scores = np.asarray(segment_scores, dtype=np.float64)
    assert scores.ndim == 2, scores.shape
    assert scores.shape[1] > 0, scores.shape
    match aggregators.get(inlier, "above_median" if inlier.startswith("gmm") else "mean"):
        case "max":
            return np.asarray(scores.max(axis=1))
        case "mean":
            return np.asarray(scores.mean(axis=1))
    median = np.median(scores, axis=1)
    above = scores > median[:, None]
    count = above.sum(axis=1)
    total = np.where(above, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), median)
