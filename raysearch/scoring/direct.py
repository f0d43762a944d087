"""Scores without an inlier model ("without h" of Table III): those of the network itself.

Apart from linear.py, which imports scikit-learn: that takes seconds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

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
        # sigmoid(-z) keeps the digits that 1 - sigmoid(z) loses where the probability nears 1.
        return np.asarray(expit(-(rows @ self.weight)), dtype=np.float64)


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
