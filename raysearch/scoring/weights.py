"""Weights of the detectors of an ensemble, chosen by the AUC and pAUC of their average."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.scoring.metrics import Floats, machine_score

ROUNDS = 20
"""Detectors that are added; a weight is a multiple of one over their number."""


def choose_weights(
    labels: Mapping[str, NDArray[Any]], scores: Mapping[str, NDArray[Any]]
) -> Floats:
    """Choose weights by forward selection with replacement (Caruana et al. 2004).

    Each round adds the detector with which the average is best; the best of all rounds counts.
    Labelled clips are needed, so these may be of validation IDs only.

    Args:
        labels: product ID -> (C,), 1 for an anomaly, 0 for normal.
        scores: product ID -> standardised scores (C, M) of M detectors, higher = more anomalous.

    Returns:
        (M,), not negative, of sum 1.
    """
    detectors = next(iter(scores.values())).shape[1]
    counts, best, best_score = np.zeros(detectors), np.zeros(detectors), -1.0
    for _ in range(ROUNDS):
        trials = counts + np.eye(detectors)
        values = [_score(trial, labels, scores) for trial in trials]
        chosen = int(np.argmax(values))
        counts = trials[chosen]
        # Of equal averages the one of fewer detectors.
        if values[chosen] > best_score:
            best, best_score = counts, values[chosen]
    return np.asarray(best / best.sum())


def _score(
    counts: Floats, labels: Mapping[str, NDArray[Any]], scores: Mapping[str, NDArray[Any]]
) -> float:
    return machine_score(labels, {i: values @ counts for i, values in scores.items()}).hmean
