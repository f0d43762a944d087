"""AUC, partial AUC and the harmonic mean that ranks configurations.

Scores are higher where a clip is more anomalous; labels are 1 for an anomaly, 0 for normal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from raysearch.config import id_order

MAX_FPR = 0.1
"""False-positive rate at which the partial area of the DCASE 2021 Task 2 evaluator ends."""

Floats = NDArray[np.float64]
Area = TypeVar("Area", float, Floats)

ClipScores = Mapping[str, tuple[NDArray[np.int64], Floats]]
"""Product ID -> labels (C,), 1 for an anomaly, and scores (C,), higher = more anomalous."""


def auc_pauc(
    labels: NDArray[Any], scores: NDArray[Any], max_fpr: float = MAX_FPR
) -> tuple[float, float]:
    """Return the area under the ROC curve and under its part with a low false-positive rate.

    The partial area is McClish-standardised, as in the DCASE 2021 Task 2 evaluator: 0.5 is
    chance, 1 is perfect, 1/2 (1 + (A - m) / (max_fpr - m)) with m = max_fpr^2 / 2.

    Args:
        labels: (N,), 1 for an anomaly, 0 for normal.
        scores: (N,), higher = more anomalous.
        max_fpr: false-positive rate at which the partial area ends, in (0, 1].

    Returns:
        AUC and pAUC, each in [0, 1].

    Raises:
        ValueError: labels of one class only or other than 0 and 1, scores that are not finite,
            shapes that differ, or a `max_fpr` outside (0, 1].
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (N,)")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (anomaly)")
    anomalies = int(np.count_nonzero(labels))
    if anomalies in (0, len(labels)):
        raise ValueError(
            f"AUC needs normal and anomalous clips, has {len(labels) - anomalies} normal and "
            f"{anomalies} anomalous"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite")
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr must lie in (0, 1], is {max_fpr}")
    fpr, tpr = roc(labels, scores)
    auc = float(np.trapezoid(tpr, fpr))
    if max_fpr == 1:
        return auc, auc
    # roc_auc_score returns the same, bit for bit, but computes two more curves: six times as slow,
    # and a trial needs dozens.
    inside = fpr <= max_fpr
    end = np.interp(max_fpr, fpr, tpr)
    part = np.trapezoid(np.append(tpr[inside], end), np.append(fpr[inside], max_fpr))
    return auc, float(standardise(part, max_fpr))


def standardise(area: Area, max_fpr: float = MAX_FPR) -> Area:
    """Put a partial area on the scale of McClish, where 0.5 is chance and 1 is perfect.

    Args:
        area: under the ROC curve up to `max_fpr`.
        max_fpr: in (0, 1).
    """
    least = max_fpr**2 / 2
    return (1 + (area - least) / (max_fpr - least)) / 2


def roc(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ROC curve, from the strictest threshold to the laxest, without points on a line.

    Args:
        labels: (N,), 1 for an anomaly, 0 for normal, both among them.
        scores: (N,), higher = more anomalous.

    Returns:
        False-positive rates (K,) and true-positive rates (K,), both from 0 to 1.
    """
    # Imported here: it takes seconds, and averages of scores do not need it.
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(labels, scores)
    return fpr, tpr


def harmonic_mean(values: Iterable[float]) -> float:
    """Return the harmonic mean of values that are not negative; 0 if any of them is 0.

    The official evaluator of DCASE 2021 Task 2 takes `scipy.stats.hmean` over values that it first
    raises to the machine epsilon, 2.2e-16: a single AUC of 0 among n values makes n times that,
    also 0 to any digit that is shown. A single ID ranked entirely the wrong way decides the mean.

    Raises:
        ValueError: no values, or a value that is negative or not finite.
    """
    array = np.asarray(list(values), dtype=np.float64)
    if array.size == 0:
        raise ValueError("harmonic mean of no values")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError("harmonic mean needs finite values that are not negative")
    if (array == 0).any():
        return 0.0
    # 1 / 5e-324 is infinite, and 1 / infinity the right limit.
    with np.errstate(over="ignore"):
        return float(1.0 / np.mean(1.0 / array))


@dataclass(frozen=True)
class MachineScore:
    """AUC and pAUC of one machine type for each of its product IDs."""

    per_id: dict[str, tuple[float, float]]
    """Product ID -> (AUC, pAUC)."""

    @property
    def hmean(self) -> float:
        """Harmonic mean of all AUCs and pAUCs over the IDs (the value of Table II)."""
        return harmonic_mean(value for pair in self.per_id.values() for value in pair)

    @property
    def remark(self) -> str:
        """Remark on an AUC of 0, which alone makes the harmonic mean 0; else empty."""
        zeros = [identity for identity, (auc, _) in self.per_id.items() if auc == 0]
        return f"the AUC of ID {zeros[0]} is 0, which makes the score 0" if zeros else ""


def machine_score(
    labels: Mapping[str, NDArray[Any]], scores: Mapping[str, NDArray[Any]]
) -> MachineScore:
    """Score one machine type, each product ID by itself.

    Args:
        labels: product ID -> (N,), 1 for an anomaly, 0 for normal.
        scores: product ID -> (N,), higher = more anomalous; the same IDs.

    Raises:
        ValueError: no IDs, IDs that differ, or an ID that `auc_pauc` refuses (in the message).
    """
    if not labels or labels.keys() != scores.keys():
        raise ValueError(f"labels of IDs {sorted(labels)} but scores of IDs {sorted(scores)}")
    per_id = {}
    for product_id in sorted(labels, key=id_order):
        try:
            per_id[product_id] = auc_pauc(labels[product_id], scores[product_id])
        except ValueError as error:
            raise ValueError(f"ID {product_id}: {error}") from error
    return MachineScore(per_id)
