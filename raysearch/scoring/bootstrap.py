"""Bootstrap over clips: the spread of a score over other recordings.

Shape letters: C clips of a product ID, R resamples, K distinct scores among the clips.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.scoring.metrics import MAX_FPR, Floats, standardise

ClipScores = Mapping[str, tuple[NDArray[np.int64], Floats]]
"""Product ID -> labels (C,), 1 for an anomaly, and scores (C,), higher = more anomalous."""

RESAMPLES = 1000
LEVEL = 0.95


def resampled_scores(runs: Sequence[ClipScores], seed: int, resamples: int = RESAMPLES) -> Floats:
    """Score a machine type again on clips drawn with replacement.

    Clips are drawn within each product ID and label, so that every resample has the same
    number of each. All runs are scored on the same draws: their differences are paired.

    Args:
        runs: each with the same clips in the same order.
        seed: of the draws.
        resamples: R.

    Returns:
        (runs, R), each the harmonic mean of AUC and pAUC over the IDs.
    """
    generator = np.random.default_rng(seed)
    inverse_sums = np.zeros((len(runs), resamples))
    with np.errstate(divide="ignore"):  # an area of 0 makes a harmonic mean of 0
        for identity, (labels, _) in runs[0].items():
            counts = _draw_counts(labels, generator, resamples)
            for k, run in enumerate(runs):
                assert np.array_equal(run[identity][0], labels)
                auc, pauc = resampled_areas(labels, run[identity][1], counts)
                inverse_sums[k] += 1 / auc + 1 / pauc
    return 2 * len(runs[0]) / inverse_sums


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values (R,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draw_counts(
    labels: NDArray[np.int64], generator: np.random.Generator, resamples: int
) -> NDArray[np.int64]:
    """Draw resamples with replacement; return how often each has each clip, (R, C)."""
    counts = np.zeros((resamples, labels.size), np.int64)
    for label in (0, 1):
        clips = np.flatnonzero(labels == label)
        shares = np.full(clips.size, 1 / clips.size)
        counts[:, clips] = generator.multinomial(clips.size, shares, size=resamples)
    return counts


def resampled_areas(
    labels: NDArray[np.int64], scores: Floats, counts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return AUC and McClish-standardised pAUC, as `metrics.auc_pauc`, of many resamples.

    Args:
        labels: (C,), 0 and 1 among them.
        scores: (C,), higher = more anomalous.
        counts: (R, C), how often each resample has each clip; both labels in every resample.

    Returns:
        AUC (R,) and pAUC (R,).
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Equal scores are one threshold, hence one step of the curve.
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    fpr = _rates(np.where(labels == 0, counts, 0)[:, order], starts)
    tpr = _rates(np.where(labels == 1, counts, 0)[:, order], starts)
    return _area(fpr, tpr, 1.0), standardise(_area(fpr, tpr, MAX_FPR))


def _rates(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> Floats:
    """Return the rates of clips above each threshold, from none to all: (R, C) -> (R, K + 1)."""
    above = np.cumsum(np.add.reduceat(counts, starts, axis=1), axis=1)
    return np.pad(above / above[:, -1:], ((0, 0), (1, 0)))


def _area(fpr: Floats, tpr: Floats, end: float) -> Floats:
    """Return the area (R,) under curves (R, K + 1) up to a false-positive rate, by trapezoids."""
    width, height = np.diff(fpr), np.diff(tpr)
    inside = np.clip(end - fpr[:, :-1], 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    areas: Floats = (inside * (tpr[:, :-1] + share * height / 2)).sum(axis=1)
    return areas
