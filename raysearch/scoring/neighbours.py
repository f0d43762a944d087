"""Nearest neighbours among the fitted segments: how far, and how far for that place?

scikit-learn finds neighbours by matrix products, whose last digits depend on how many segments are
asked for at once; the distances themselves are therefore taken anew, each for itself.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import normalize

from raysearch.scoring.fitting import FitError
from raysearch.scoring.metrics import Floats


@dataclass(frozen=True, eq=False)
class Lof:
    """Local outlier factor with p neighbours; about 1 for inliers.

    Attributes:
        embeddings: fitted segments (N, D): fitting is deterministic, so they are the whole model.
    """

    p: int
    embeddings: Floats

    @cached_property
    def _factor(self) -> Any:
        return LocalOutlierFactor(n_neighbors=self.p, novelty=True).fit(self.embeddings)

    def score(self, rows: Floats) -> Floats:
        """Local outlier factor (N,) of rows (N, D)."""
        return -np.asarray(self._factor.score_samples(rows), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Knn:
    """Mean distance to the p nearest fitted segments.

    Attributes:
        cosine: whether directions alone count: 1 - cosine, rather than the Euclidean distance.
        embeddings: fitted segments (N, D); of length 1 if `cosine`.
    """

    p: int
    cosine: bool
    embeddings: Floats

    @classmethod
    def fit(cls, rows: Floats, p: int, *, cosine: bool) -> Self:
        """Keeps the segments.

        Raises:
            FitError: directions count, and all are the same.
        """
        if not cosine:
            return cls(p, cosine, rows)
        directions = normalize(rows)
        if np.ptp(directions, axis=0).max() < 1e-12:
            raise FitError(f"knn_cosine with p={p}: all {len(rows)} embeddings have one direction")
        return cls(p, cosine, directions)

    @cached_property
    def _search(self) -> Any:
        return _search(self.embeddings, self.p)

    def score(self, rows: Floats) -> Floats:
        """Mean distance (N,) of rows (N, D)."""
        places = normalize(rows) if self.cosine else rows
        near = self._search.kneighbors(places, return_distance=False)
        distances = _distances(places, self.embeddings, near)
        # Half of the squared distance between directions is 1 - cosine.
        return np.asarray((distances**2 / 2 if self.cosine else distances).mean(axis=1))


@dataclass(frozen=True, eq=False)
class KnnLocal:
    """Distance to the fitted segment that is nearest for its surroundings.

    min over y of d(x, y) / r(y), r(y) being the mean distance of y to its own p nearest fitted
    segments: local density-based score normalisation (Wilkinghoff et al., 2025). About 1 for
    inliers.

    Attributes:
        embeddings: fitted segments (N, D), each once.
        radii: r of each (N,).
    """

    embeddings: Floats
    radii: Floats

    @classmethod
    def fit(cls, rows: Floats, p: int) -> Self:
        """Measures the surroundings of every segment.

        Raises:
            FitError: p or fewer different segments.
        """
        # A segment that is there twice, as in a clip that was repeated, would have the radius 0.
        different = np.unique(rows, axis=0)
        if len(different) <= p:
            what = f"knn_local with p={p} needs at least {p + 1} different segments"
            raise FitError(f"{what}, has {len(different)}")
        near = _search(different, p).kneighbors(return_distance=False)
        return cls(different, _distances(different, different, near).mean(axis=1))

    def score(self, rows: Floats) -> Floats:
        """Relative distance (N,) of rows (N, D)."""
        relative = pairwise_distances(rows, self.embeddings) / self.radii
        nearest = relative.argmin(axis=1)
        distances = _distances(rows, self.embeddings, nearest[:, None])
        return np.asarray(distances[:, 0] / self.radii[nearest])


def _search(embeddings: Floats, p: int) -> Any:
    return NearestNeighbors(n_neighbors=p, algorithm="brute").fit(embeddings)


def _distances(rows: Floats, others: Floats, near: NDArray[np.int64]) -> Floats:
    """Distances (N, K) of rows (N, D) to those of the others whose numbers are in near (N, K)."""
    found = np.empty(near.shape)
    for k, column in enumerate(near.T):
        apart = rows - others[column]
        found[:, k] = np.sqrt(np.einsum("nd,nd->n", apart, apart))
    return found
