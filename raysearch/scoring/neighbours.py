"""Distances to the nearest fitted segments, absolute and relative to the local density.

scikit-learn finds neighbours by matrix products, whose last digits depend on how many segments are
scored at once; the distances are therefore computed again, each by itself.
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
        """Return the local outlier factor (N,) of rows (N, D)."""
        return -np.asarray(self._factor.score_samples(rows), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Knn:
    """Mean distance to the p nearest fitted segments.

    Attributes:
        cosine: True for the distance 1 - cosine, False for the Euclidean one.
        embeddings: fitted segments (N, D); of length 1 if `cosine`.
    """

    p: int
    cosine: bool
    embeddings: Floats

    @classmethod
    def fit(cls, rows: Floats, p: int, *, cosine: bool) -> Self:
        """Keep the segments, scaled to length 1 if `cosine`.

        Raises:
            FitError: `cosine`, and all segments have the same direction.
        """
        if not cosine:
            return cls(p, cosine, rows)
        directions = normalize(rows)
        if np.ptp(directions, axis=0).max() < 1e-12:
            raise FitError(f"knn_cosine with p={p}: all {len(rows)} embeddings have one direction")
        return cls(p, cosine, directions)

    @cached_property
    def _search(self) -> Any:
        return _neighbour_search(self.embeddings, self.p)

    def score(self, rows: Floats) -> Floats:
        """Return the mean distance (N,) of rows (N, D)."""
        queries = normalize(rows) if self.cosine else rows
        near = self._search.kneighbors(queries, return_distance=False)
        distances = _distances(queries, self.embeddings, near)
        # Half of the squared distance between directions is 1 - cosine.
        return np.asarray((distances**2 / 2 if self.cosine else distances).mean(axis=1))


@dataclass(frozen=True, eq=False)
class KnnLocal:
    """Distance to the fitted segment that is nearest relative to its radius.

    min over y of d(x, y) / r(y), r(y) being the mean distance of y to its p nearest fitted
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
        """Measure the radius of every segment.

        Raises:
            FitError: p or fewer distinct segments.
        """
        # A duplicate, as in a clip that was repeated, would have the radius 0.
        distinct = np.unique(rows, axis=0)
        if len(distinct) <= p:
            need = f"knn_local with p={p} needs at least {p + 1} different segments"
            raise FitError(f"{need}, has {len(distinct)}")
        near = _neighbour_search(distinct, p).kneighbors(return_distance=False)
        return cls(distinct, _distances(distinct, distinct, near).mean(axis=1))

    def score(self, rows: Floats) -> Floats:
        """Return the relative distance (N,) of rows (N, D)."""
        relative = pairwise_distances(rows, self.embeddings) / self.radii
        nearest = relative.argmin(axis=1)
        distances = _distances(rows, self.embeddings, nearest[:, None])
        return np.asarray(distances[:, 0] / self.radii[nearest])


def _neighbour_search(embeddings: Floats, p: int) -> Any:
    return NearestNeighbors(n_neighbors=p, algorithm="brute").fit(embeddings)


def _distances(rows: Floats, segments: Floats, near: NDArray[np.int64]) -> Floats:
    """Return distances (N, K) of rows (N, D) to segments (M, D) of the indices near (N, K)."""
    distances = np.empty(near.shape)
    for k, column in enumerate(near.T):
        difference = rows - segments[column]
        distances[:, k] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances
