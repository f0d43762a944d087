"""Gaussian mixtures with full covariances: expectation maximisation and log-density.

Steps, tolerance and result are those of scikit-learn's GaussianMixture, but for rounding. In many
dimensions nearly every segment belongs to a single component, which spares most of the work:
a component is estimated from its own segments alone, and only when these have changed; a
component far below the best of a segment adds nothing to the density, and is left out as soon as a
few dimensions show that.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.special import logsumexp

from raysearch.scoring.metrics import Floats

ITERATIONS = 100
"""Most steps of the expectation maximisation, as in scikit-learn."""

TOLERANCE = 1e-3
"""Gain of the mean log-likelihood in nats below which the steps end, as in scikit-learn."""

NEGLIGIBLE = 40.0
"""Nats below the best component; exp(-40) is less than the rounding of 1 in float64."""

DIMENSIONS = 32
"""Dimensions that are added to a distance at once."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """A mixture of p Gaussians.

    Attributes:
        weights: of the components (p,).
        means: of the components (p, D).
        factors: upper triangular factors of the inverse covariances, which are
            factor @ factor.T (p, D, D).
    """

    weights: Floats
    means: Floats
    factors: Floats

    @classmethod
    def fit(cls, rows: Floats, labels: NDArray[Any], p: int, reg_covar: float) -> "Gaussians":
        """Fit by expectation maximisation.

        Args:
            rows: segments (N, D).
            labels: component of each segment to start from (N,), from 0 to p - 1.
            p: number of components; some may have no segment.
            reg_covar: added to the diagonal of each covariance.

        Raises:
            ValueError: the covariance of a component is singular.
        """
        shares, dim = np.eye(p)[labels], rows.shape[1]
        blank = cls(np.empty(p), np.empty((p, dim)), np.empty((p, dim, dim)))
        mixture = _estimate(blank, np.arange(p), rows, shares, reg_covar)
        bound = -np.inf
        for _ in range(ITERATIONS):
            joint = mixture.log_joint(rows)
            density = logsumexp(joint, axis=1)
            before, shares = shares, np.exp(joint - density[:, None])
            last, bound = bound, density.mean()
            changed = np.flatnonzero((shares != before).any(axis=0))
            if not changed.size:
                break
            mixture = _estimate(mixture, changed, rows, shares, reg_covar)
            if abs(bound - last) < TOLERANCE:
                break
        return mixture

    def log_density(self, rows: Floats) -> Floats:
        """Return the log-density (N,) of rows (N, D) in nats."""
        return np.asarray(logsumexp(self.log_joint(rows), axis=1), np.float64)

    def log_joint(self, rows: Floats) -> Floats:
        """Return the log-densities (N, p) of rows (N, D) with each component, in nats.

        -inf stands for a component that is `NEGLIGIBLE` for a row.

        Raises:
            ValueError: the numbers of components or of dimensions differ.
        """
        count, dim = self._sizes(rows)
        first = min(DIMENSIONS, dim)
        # Upper bounds of the log-densities, since each further dimension adds to the distance.
        bounds = self._tops() - np.stack(
            [self._half_square(rows, k, 0, first) for k in range(count)], axis=1
        )
        best = bounds.argmax(axis=1)
        joint = np.full(bounds.shape, -np.inf)
        for k in np.unique(best):
            chosen = np.flatnonzero(best == k)
            rest = self._half_square(rows[chosen], k, first, dim)
            joint[chosen, k] = bounds[chosen, k] - rest
        floors = joint.max(axis=1) - NEGLIGIBLE
        bounds[np.arange(len(rows)), best] = -np.inf
        for k in range(count):
            left = np.flatnonzero(bounds[:, k] > floors)
            bound = bounds[left, k]
            for start in range(first, dim, DIMENSIONS):
                if not left.size:
                    break
                stop = min(start + DIMENSIONS, dim)
                bound = bound - self._half_square(rows[left], k, start, stop)
                kept = bound > floors[left]
                left, bound = left[kept], bound[kept]
            joint[left, k] = bound
        return joint

    def _sizes(self, rows: Floats) -> tuple[int, int]:
        """Return p and D, which all arrays must have."""
        (count,), dim = self.weights.shape, rows.shape[1]
        if self.means.shape != (count, dim) or self.factors.shape != (count, dim, dim):
            raise ValueError(
                f"{dim} dimensions, and a mixture of weights {self.weights.shape}, "
                f"means {self.means.shape} and factors {self.factors.shape}"
            )
        return count, dim

    def _tops(self) -> Floats:
        """Return the logarithms of the greatest weighted density of each component (p,)."""
        dim = self.means.shape[1]
        roots = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        return np.asarray(np.log(self.weights) + roots - dim / 2 * np.log(2 * np.pi))

    def _half_square(self, rows: Floats, k: int, start: int, stop: int) -> Floats:
        """Return what some dimensions add to half the squared Mahalanobis distance (N,)."""
        # The factor is triangular: these dimensions depend on none that follow.
        centred = rows[:, :stop] - self.means[k, :stop]
        white = centred @ self.factors[k, :stop, start:stop]
        return np.asarray(np.einsum("nd,nd->n", white, white) / 2)


def _estimate(
    mixture: Gaussians, changed: NDArray[np.int64], rows: Floats, shares: Floats, reg_covar: float
) -> Gaussians:
    """Estimate changed components anew from the shares (N, p) that segments (N, D) have in them."""
    dim = rows.shape[1]
    counts = shares.sum(axis=0) + 10 * np.finfo(np.float64).eps
    means, factors = mixture.means.copy(), mixture.factors.copy()
    covariances = np.empty((len(changed), dim, dim))
    for covariance, k in zip(covariances, changed, strict=True):
        members = np.flatnonzero(shares[:, k])
        parts = shares[members, k] / counts[k]
        means[k] = parts @ rows[members]
        spread = (rows[members] - means[k]) * np.sqrt(parts)[:, None]
        np.matmul(spread.T, spread, out=covariance)
        covariance.flat[:: dim + 1] += reg_covar
    factors[changed] = _inverse_factors(covariances, reg_covar)
    return replace(mixture, weights=counts / counts.sum(), means=means, factors=factors)


def _inverse_factors(covariances: Floats, reg_covar: float) -> Floats:
    """Return the upper triangular factors (p, D, D) of the inverses of covariances (p, D, D)."""
    try:
        lower = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"the covariance of a component is singular with reg_covar {reg_covar:g}; "
            "a larger reg_covar or a smaller p mends that"
        ) from error
    factors = np.empty_like(lower)
    for k, factor in enumerate(lower):
        factors[k], _ = lapack.dtrtri(factor.T)
    return factors
