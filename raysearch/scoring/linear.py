"""Mean and covariance of the fitted segments: how far in their spread, or out of their plane?"""

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
        whitening: what makes their covariance the identity (D, D).
    """

    mean: Floats
    whitening: Floats

    @classmethod
    def fit(cls, rows: Floats, p: float) -> Self:
        """Estimates the covariance.

        Raises:
            FitError: it is singular, which it may be with p = 0 or very near it.
        """
        found = ShrunkCovariance(shrinkage=p, store_precision=False).fit(rows)
        variances, axes = np.linalg.eigh(found.covariance_)
        if variances[0] <= variances[-1] * len(variances) * np.finfo(np.float64).eps:
            why = f"the covariance of {len(rows)} segments in {len(variances)} dimensions"
            raise FitError(f"mahalanobis with p={p}: {why} is singular, a larger p shrinks it more")
        return cls(found.location_, axes / np.sqrt(variances))

    def score(self, rows: Floats) -> Floats:
        """Distance (N,) of rows (N, D)."""
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
        """Finds the fewest components that explain more than the share p.

        Raises:
            FitError: those are all there are.
        """
        found = PCA(n_components=p, svd_solver="full").fit(rows)
        kept, dim = found.components_.shape
        if kept == dim:
            raise FitError(f"pca with p={p}: takes all {dim} dimensions, so no residual is left")
        return cls(found.mean_, found.components_)

    def score(self, rows: Floats) -> Floats:
        """Norm (N,) of what the components leave of rows (N, D)."""
        centred = rows - self.mean
        plane = centred @ self.components.T @ self.components
        return np.asarray(np.linalg.norm(centred - plane, axis=1))
