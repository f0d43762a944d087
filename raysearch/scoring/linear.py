"""Mahalanobis distance to the fitted segments, and distance to their principal components."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.covariance import ShrunkCovariance
from sklearn.decomposition import PCA

from raysearch.scoring.fitting import FitError
from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Mahalanobis distance to the mean, by a shrunk covariance.

    The covariance is (1 - p) C + p (trace C / D) I.

    Attributes:
        mean: of the fitted segments (D,).
        whitening: matrix that makes their covariance the identity (D, D).
    """

    mean: Floats
    whitening: Floats

    @classmethod
    def fit(cls, rows: Floats, p: float) -> Self:
        """Estimate mean and covariance.

        Raises:
            FitError: the covariance is singular, which needs p = 0 or very near it.
        """
        estimate = ShrunkCovariance(shrinkage=p, store_precision=False).fit(rows)
        variances, axes = np.linalg.eigh(estimate.covariance_)
        if variances[0] <= variances[-1] * len(variances) * np.finfo(np.float64).eps:
            subject = f"the covariance of {len(rows)} segments in {len(variances)} dimensions"
            raise FitError(
                f"mahalanobis with p={p}: {subject} is singular, a larger p shrinks it more"
            )
        return cls(estimate.location_, axes / np.sqrt(variances))

    def score(self, rows: Floats) -> Floats:
        """Return the distance (N,) of rows (N, D)."""
        return np.asarray(np.linalg.norm((rows - self.mean) @ self.whitening, axis=1))


@dataclass(frozen=True, eq=False)
class PcaResidual:
    """Distance to the plane of the principal components that explain a share p of the variance.

    Attributes:
        mean: of the fitted segments (D,).
        components: principal components (K, D).
    """

    mean: Floats
    components: Floats

    @classmethod
    def fit(cls, rows: Floats, p: float) -> Self:
        """Find the fewest components that explain more than the share p.

        Raises:
            FitError: that takes all components.
        """
        pca = PCA(n_components=p, svd_solver="full").fit(rows)
        count, dim = pca.components_.shape
        if count == dim:
            raise FitError(f"pca with p={p}: takes all {dim} dimensions, so no residual is left")
        return cls(pca.mean_, pca.components_)

    def score(self, rows: Floats) -> Floats:
        """Return the norm (N,) of the residual of rows (N, D)."""
        centred = rows - self.mean
        plane = centred @ self.components.T @ self.components
        return np.asarray(np.linalg.norm(centred - plane, axis=1))
