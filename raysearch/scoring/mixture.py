"""Gaussian mixtures, which score a segment by its negative log-likelihood."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of p Gaussians; the score is the negative log-likelihood in nats.

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
        mixture = GaussianMixture(
            p, covariance_type=covariance, reg_covar=reg_covar, random_state=seed
        )
        with warnings.catch_warnings():
            # An unconverged or doubled component is still a density; validation IDs judge it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(rows)
        return cls(covariance, mixture.weights_, mixture.means_, mixture.precisions_cholesky_)

    def score(self, rows: Floats) -> Floats:
        """Return the negative log-likelihood (N,) of rows (N, D)."""
        mixture = GaussianMixture(len(self.weights), covariance_type=self.covariance)
        mixture.weights_, mixture.means_ = self.weights, self.means
        mixture.precisions_cholesky_ = self.precisions_cholesky
        mixture.n_features_in_ = self.means.shape[1]
        return -np.asarray(mixture.score_samples(rows), dtype=np.float64)
