"""Jackknife over clips: the error of a score for the choice of its clips.

Each clip is left out in turn, and the score changes by the clip's influence. The sum of squared
influences is the variance that other clips would bring. Two runs on the same clips have a
covariance as well, so that their difference is paired.

Shape letters: C clips of a product ID, R rows of counts, K distinct scores among the clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.scoring.metrics import MAX_FPR, ClipScores, Floats, standardise

FEWEST_CLIPS = 10
"""Least number of normal and of anomalous clips of an ID for an interval.

pAUC counts false-positive rates up to 0.1: of fewer than 10 normal clips not one lies there. From
10 and 10 clips on `analysis/interval_coverage.py` measures the coverage that an interval promises.
"""

MOST_GROUPS = 200
"""Largest number of clips of a kind that are left out one by one; more are left out in groups."""


@dataclass(frozen=True)
class Jackknife:
    """Scores of several runs on the same clips, and their errors.

    Attributes:
        scores: (runs,), each the harmonic mean of AUC and pAUC over the IDs.
        covariance: (runs, runs), over other clips.
        freedom: degrees of freedom of the variances, by Satterthwaite.
    """

    scores: Floats
    covariance: Floats
    freedom: float


def jackknife(runs: Sequence[ClipScores]) -> Jackknife:
    """Score runs, and estimate the errors of their scores for the choice of the clips.

    Where an ID's clips are ranked without a mistake, no clip has an influence, though the next clip
    might be a mistake. There the lowest anomaly counts as high as the highest normal clip.

    Args:
        runs: each with the same clips in the same order; no AUC is 0.
    """
    means, changes, freedoms = [], [], []
    for run in runs:
        for identity, (labels, _) in run.items():
            assert np.array_equal(runs[0][identity][0], labels)
        score, parts = _influences(run)
        means.append(score)
        changes.append(np.concatenate(parts))
        variances = np.array([np.sum(part**2) for part in parts])
        rest = np.array([part.size - 1 for part in parts])
        freedoms.append(satterthwaite(variances, rest))
    influences = np.array(changes)
    return Jackknife(np.array(means), influences @ influences.T, min(freedoms))


def satterthwaite(variances: Sequence[float] | Floats, freedoms: Sequence[float] | Floats) -> float:
    """Return the degrees of freedom of a sum of independent variances."""
    parts, rest = np.asarray(variances, np.float64), np.asarray(freedoms, np.float64)
    weight = np.sum(parts**2 / rest)
    return float(parts.sum() ** 2 / weight if weight > 0 else rest.sum())


def _influences(run: ClipScores) -> tuple[float, list[Floats]]:
    """Return the score, and for each ID and label the scaled changes without a group of clips."""
    whole, left_out = [], []
    for labels, values in run.values():
        groups = [_groups(np.flatnonzero(labels == label)) for label in (0, 1)]
        counts = np.ones((1 + sum(map(len, groups)), labels.size), np.int64)
        for row, clips in enumerate([clips for part in groups for clips in part], start=1):
            counts[row, clips] = 0
        auc, pauc = counted_areas(labels, _with_tie(labels, values), counts)
        with np.errstate(divide="ignore"):  # Without a clip an AUC may be 0.
            inverse = 1 / auc + 1 / pauc
        whole.append(inverse[0])
        left_out.append(np.split(inverse[1:], [len(groups[0])]))
    total = np.sum(whole)
    parts = []
    for inverse, both in zip(whole, left_out, strict=True):
        for without in both:
            scores = 2 * len(run) / (total - inverse + without)
            parts.append((scores - scores.mean()) * np.sqrt(1 - 1 / scores.size))
    return float(2 * len(run) / total), parts


def _groups(clips: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    count = min(clips.size, MOST_GROUPS)
    return [clips[start::count] for start in range(count)]


def _with_tie(labels: NDArray[np.int64], scores: Floats) -> Floats:
    """Return scores (C,) whose lowest anomaly is no higher than the highest normal clip."""
    highest, anomalies = scores[labels == 0].max(), np.flatnonzero(labels == 1)
    lowest = anomalies[scores[anomalies].argmin()]
    tied = scores.copy()
    tied[lowest] = min(tied[lowest], highest)
    return tied


def clip_score(run: ClipScores) -> float:
    """Return the harmonic mean of AUC and pAUC over the IDs; 0 if an AUC is 0."""
    inverse = 0.0
    for labels, values in run.values():
        auc, pauc = counted_areas(labels, values, np.ones((1, labels.size), np.int64))
        if auc[0] == 0:
            return 0.0
        inverse += float(1 / auc[0] + 1 / pauc[0])
    return 2 * len(run) / inverse


def few_clips(run: ClipScores) -> tuple[int, int] | None:
    """Return the least numbers of normal and anomalous clips of an ID; None if they suffice."""
    normal = min(int(np.sum(labels == 0)) for labels, _ in run.values())
    anomalous = min(int(np.sum(labels == 1)) for labels, _ in run.values())
    return None if min(normal, anomalous) >= FEWEST_CLIPS else (normal, anomalous)


def counted_areas(
    labels: NDArray[np.int64], scores: Floats, counts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return AUC and McClish-standardised pAUC, as `metrics.auc_pauc`, of many choices of clips.

    Args:
        labels: (C,), 0 and 1 among them.
        scores: (C,), higher = more anomalous.
        counts: (R, C), how often each choice has each clip; both labels in every choice.

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
