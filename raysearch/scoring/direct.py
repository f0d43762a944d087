"""Scores without an inlier model ("without h" of Table III): those of the network itself.

Apart from linear.py, which imports scikit-learn: that takes seconds.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class ProductProbability:
    """1 - probability of the clip's product ID.

    Attributes:
        weight: the product head's row (D,) of this ID; that head has no bias.
    """

    weight: Floats

    def score(self, rows: Floats) -> Floats:
        """Return 1 - sigmoid(logit), (N,), of rows (N, D)."""
        return _improbability(rows @ self.weight)


@dataclass(frozen=True, eq=False)
class CentreDistance:
    """1 - cosine between an embedding and the centre of the clip's product ID.

    Attributes:
        centre: (D,), of any length.
    """

    centre: Floats

    def score(self, rows: Floats) -> Floats:
        """Return 1 - cosine, (N,), of rows (N, D); 1 for a row of zeros."""
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(self.centre)
        return np.asarray(1 - (rows @ self.centre) / np.maximum(lengths, 1e-300), np.float64)


@dataclass(frozen=True, eq=False)
class LastDimension:
    """The last dimension of an embedding, where a network puts a score of its own."""

    def score(self, rows: Floats) -> Floats:
        """Return the last column (N,) of rows (N, D)."""
        return np.array(rows[:, -1], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class CentroidDistance:
    """A weighted average of the probability of another class and of the distance to a centroid.

    Attributes:
        weight: the class head's weight (D,).
        bias: of the class head (1,).
        centroid: of the clip's product ID (D,).
        scale: mean squared distance of normal segments (1,).
        share: weight of the probability, in [0, 1] (1,).
    """

    weight: Floats
    bias: Floats
    centroid: Floats
    scale: Floats
    share: Floats

    @classmethod
    def fit(
        cls, weight: Floats, bias: Floats, centroid: Floats, *, share: float, normal: NDArray[Any]
    ) -> Self:
        """Scale the distances by those of normal segments (N, D)."""
        scale = np.square(np.asarray(normal, np.float64) - centroid).mean(keepdims=True)[0]
        return cls(weight, bias, centroid, np.maximum(scale, 1e-12), np.array([share]))

    def score(self, rows: Floats) -> Floats:
        """Return share (1 - sigmoid(logit)) + (1 - share) d / scale, (N,), of rows (N, D)."""
        unlikely = _improbability(rows @ self.weight + self.bias)
        distances = np.square(rows - self.centroid).mean(axis=1) / self.scale
        return np.asarray(self.share * unlikely + (1 - self.share) * distances, np.float64)


def _improbability(logits: Floats) -> Floats:
    """Return 1 - sigmoid of logits."""
    # Imported here: every trial imports this module, and most have no use for SciPy.
    from scipy.special import expit

    # sigmoid(-z) keeps the digits that 1 - sigmoid(z) loses where the probability nears 1.
    return np.asarray(expit(-logits), dtype=np.float64)
