"""Gaussian mixtures, which score a segment by its negative log-likelihood."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from raysearch.scoring.gaussians import Gaussians
from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of p Gaussians; the score is the negative log-likelihood in nats.

    Full covariances, which take most of a sweep's time, have their own module.

    Attributes:
        covariance: kind of the covariances, as scikit-learn calls it.
        weights: of the components (p,).
        means: of the components (p, D).
        precisions_cholesky: factors of the inverse covariances: full (p, D, D), diag (p, D),
            tied (D, D).
    """

    covariance: str
    weights: Floats
    means: Floats
    precisions_cholesky: Floats

    @classmethod
    def fit(cls, rows: Floats, p: int, *, covariance: str, seed: int, reg_covar: float) -> Self:
        """Fit by expectation maximisation from a k-means start with `seed`.

        `reg_covar` is added to the diagonal of each covariance, which keeps a component with
        fewer segments than dimensions invertible.
        """
        with warnings.catch_warnings():
            # An unconverged or doubled component is still a density; validation IDs judge it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            if covariance == "full":
                full = Gaussians.fit(rows, _clusters(rows, p, seed), p, reg_covar)
                return cls(covariance, full.weights, full.means, full.factors)
            mixture = GaussianMixture(
                p, covariance_type=covariance, reg_covar=reg_covar, random_state=seed
            ).fit(rows)
        return cls(covariance, mixture.weights_, mixture.means_, mixture.precisions_cholesky_)

    def score(self, rows: Floats) -> Floats:
        """Return the negative log-likelihood (N,) of rows (N, D)."""
        if self.covariance == "full":
            full = Gaussians(self.weights, self.means, self.precisions_cholesky)
            return -full.log_density(rows)
        mixture = GaussianMixture(len(self.weights), covariance_type=self.covariance)
        mixture.weights_, mixture.means_ = self.weights, self.means
        mixture.precisions_cholesky_ = self.precisions_cholesky
        mixture.n_features_in_ = self.means.shape[1]
        return -np.asarray(mixture.score_samples(rows), dtype=np.float64)


def _clusters(rows: Floats, p: int, seed: int) -> NDArray[Any]:
    """Return the cluster (N,) of each row, 0 to p - 1, as scikit-learn's mixtures start."""
    if p == 1:
        return np.zeros(len(rows), np.intp)
    return np.asarray(KMeans(p, n_init=1, random_state=seed).fit(rows).labels_)
