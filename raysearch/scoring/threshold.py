"""The threshold above which a clip is called anomalous."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

FEWEST_SCORES = 8
"""Least number of scores for a fit; the third moment of fewer is meaningless."""


def gamma_threshold(scores: NDArray[Any], quantile: float = 0.9) -> float:
    """Return a percentile of a gamma distribution fitted to the scores of normal training clips.

    The DCASE 2021 Task 2 baseline takes the 90th percentile of a gamma distribution. Scores may
    be negative here (a log-likelihood has no zero), so the distribution has a location as well.
    The likelihood of such a three-parameter gamma is unbounded, and an iterative fit may
    not converge; so it is fitted by its moments, which is closed-form, deterministic and
    equivariant to shift and scale of the scores:

        shape = 4 / skewness^2, scale = std * skewness / 2, location = mean - 2 std / skewness.

    The empirical percentile is returned instead when there are fewer than `FEWEST_SCORES`
    scores, when all are equal or their skewness is not positive (no gamma fits), and when the
    fit is at odds with the scores: the share of them up to the threshold differs from
    `quantile` by more than two binomial standard deviations (as with one far outlier).

    Args:
        scores: (N,), higher = more anomalous, N >= 1.
        quantile: target share of normal clips below the threshold, in (0, 1).

    Raises:
        ValueError: no scores, scores that are not finite, or a quantile outside (0, 1).
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError("a threshold needs at least one score, and all of them finite")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie in (0, 1), is {quantile}")
    threshold = _gamma_quantile(scores, quantile)
    tolerance = 2 * np.sqrt(quantile * (1 - quantile) / scores.size)
    if threshold is None or abs(np.mean(scores <= threshold) - quantile) > tolerance:
        return float(np.quantile(scores, quantile))
    return threshold


def _gamma_quantile(scores: NDArray[np.float64], quantile: float) -> float | None:
    """Return the quantile of the gamma distribution with the scores' moments, None without one."""
    if scores.size < FEWEST_SCORES or np.ptp(scores) == 0:
        return None
    mean, std = scores.mean(), scores.std()
    if not std > 0:
        return None
    skewness = np.mean(((scores - mean) / std) ** 3)
    # A skewness this small needs a shape beyond 1e8, where the location cancels to nothing.
    if not skewness > 2e-4:
        return None
    # Standardised first, so that the far location of a nearly symmetric gamma costs no digits.
    standard = gamma.ppf(quantile, 4 / skewness**2) * skewness / 2 - 2 / skewness
    threshold = float(mean + std * standard)
    return threshold if np.isfinite(threshold) else None
