"""Sums of Gaussian kernels: one-class support vector machine and kernel density.

Both are scored here, by one formula and on a logarithmic scale. scikit-learn's sum of a support
vector machine underflows a few spreads away, where all anomalies would score alike; its density
uses trees, which are wrong for small bandwidths (its issues 25799 and 27186) and slow in many
dimensions.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.svm import OneClassSVM

from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class KernelSum:
    """Score: offset - log sum_j exp(log_weights_j - gamma ||x - mean - centres_j||^2).

    Attributes:
        mean: of the fitted segments (D,).
        centres: of the kernels, relative to the mean (M, D).
        log_weights: logarithms of their weights (M,).
        gamma: one over twice the squared bandwidth ().
        offset: added to every score ().
    """

    mean: Floats
    centres: Floats
    log_weights: Floats
    gamma: Floats
    offset: Floats

    @classmethod
    def ocsvm(cls, rows: Floats, p: float) -> Self:
        """Fit a one-class support vector machine with nu = p and gamma = 1 / total variance.

        The score is log rho - log sum_j alpha_j K(x, x_j), above 0 where scikit-learn's
        `decision_function` is below 0.
        """
        mean = rows.mean(axis=0)
        # Not gamma="scale", whose variance includes the differences between the dimensions' means.
        gamma = 1 / rows.var(axis=0).sum()
        machine = OneClassSVM(kernel="rbf", gamma=gamma, nu=p).fit(rows - mean)
        return cls(
            mean,
            machine.support_vectors_,
            np.log(machine.dual_coef_[0]),
            np.asarray(gamma),
            np.asarray(np.log(machine.offset_[0])),
        )

    @classmethod
    def density(cls, rows: Floats, p: float) -> Self:
        """Fit a kernel density with p times Silverman's bandwidth; the score is -log density.

        Silverman's bandwidth is s (N (D + 2) / 4)^(-1 / (D + 4)), s^2 the mean variance of the
        dimensions.
        """
        count, dim = rows.shape
        mean = rows.mean(axis=0)
        silverman = (count * (dim + 2) / 4) ** (-1 / (dim + 4))
        square = (p * silverman) ** 2 * rows.var(axis=0).mean()
        return cls(
            mean,
            rows - mean,
            np.zeros(count),
            np.asarray(1 / (2 * square)),
            np.asarray(np.log(count) + dim / 2 * np.log(2 * np.pi * square)),
        )

    def score(self, rows: Floats) -> Floats:
        """Return the score (N,) of rows (N, D)."""
        squares = euclidean_distances(rows - self.mean, self.centres, squared=True)
        terms = self.log_weights - self.gamma * squares
        # The greatest term is factored out, so that no sum underflows.
        top = terms.max(axis=1)
        rest = np.log(np.exp(terms - top[:, None]).sum(axis=1))
        return np.asarray(self.offset - top - rest)
