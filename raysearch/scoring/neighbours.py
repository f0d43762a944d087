"""Distances to the nearest fitted segments, absolute and relative to the local density."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from raysearch.scoring.fitting import FitError
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import searched_neighbours

CLOSE = 3e-3
"""Distance in lengths of a row below which a distance by matrix products has too few digits."""


class Near(NamedTuple):
    """The nearest fitted segments of some rows, the nearest first.

    Attributes:
        indices: of the segments (N, K).
        distances: to them (N, K).
    """

    indices: NDArray[np.int64]
    distances: Floats


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A search among fitted segments.

    Attributes:
        embeddings: fitted segments (N, D); of length 1 if `cosine`.
        count: neighbours that are sought, or all segments if these are fewer. Models with different
            p have the same count, so that their neighbours are the same in every digit.
        cosine: True if the lengths of rows do not count.
    """

    embeddings: Floats
    count: int
    cosine: bool = False

    def of(self, rows: Floats) -> Near:
        """Find the nearest segments of rows (N, D)."""
        queries = normalize(rows) if self.cosine else rows
        return self._near(queries, min(self.count, len(self.embeddings)))

    @cached_property
    def among(self) -> Near:
        """Nearest other segments of every segment; there are at least two."""
        return self._near(None, min(self.count, len(self.embeddings) - 1))

    @cached_property
    def _centre(self) -> Floats:
        # Distances by matrix products lose digits with the distance from the origin.
        return np.asarray(self.embeddings.mean(axis=0))

    @cached_property
    def _search(self) -> Any:
        return NearestNeighbors(algorithm="brute").fit(self.embeddings - self._centre)

    def _near(self, queries: Floats | None, count: int) -> Near:
        rows = self.embeddings if queries is None else queries
        centred = rows - self._centre
        distances, indices = self._search.kneighbors(
            None if queries is None else centred, n_neighbors=count
        )
        close = distances <= CLOSE * np.linalg.norm(centred, axis=1)[:, None]
        if not close.any():
            return Near(indices, distances)
        for k in np.flatnonzero(close.any(axis=0)):
            chosen = np.flatnonzero(close[:, k])
            distances[chosen, k] = _distances(rows[chosen], self.embeddings[indices[chosen, k]])
        order = np.argsort(distances, axis=1, kind="stable")
        return Near(*(np.take_along_axis(a, order, axis=1) for a in (indices, distances)))


@dataclass(frozen=True, eq=False)
class Lof:
    """Local outlier factor with p neighbours (Breunig et al., 2000); about 1 for inliers.

    The factor is scikit-learn's; here models with different p share one search.

    Attributes:
        neighbourhood: of the fitted segments. Fitting is deterministic, so these are the whole
            model.
    """

    p: int
    neighbourhood: Neighbourhood

    @classmethod
    def fit(cls, rows: Floats, p: int) -> Self:
        """Keep the segments (N, D), N > p."""
        return cls(p, Neighbourhood(rows, searched_neighbours(p)))

    def score(self, rows: Floats) -> Floats:
        """Return the local outlier factor (N,) of rows (N, D)."""
        return self.score_near(self.neighbourhood.of(rows))

    def score_near(self, near: Near) -> Floats:
        """Return the local outlier factor (N,) of rows by their nearest segments."""
        around = self._densities[near.indices[:, : self.p]].mean(axis=1)
        return np.asarray(around / self._density(near))

    @cached_property
    def _densities(self) -> Floats:
        return self._density(self.neighbourhood.among)

    def _density(self, near: Near) -> Floats:
        """Return the local reachability density (N,)."""
        radii = self.neighbourhood.among.distances[:, self.p - 1]
        indices, distances = (array[:, : self.p] for array in near)
        # As in scikit-learn: more than p equal segments would have no finite density.
        return np.asarray(1 / (np.maximum(distances, radii[indices]).mean(axis=1) + 1e-10))


@dataclass(frozen=True, eq=False)
class Knn:
    """Mean distance to the p nearest fitted segments.

    Attributes:
        neighbourhood: of the fitted segments; its `cosine` stands for the distance 1 - cosine.
    """

    p: int
    neighbourhood: Neighbourhood

    @classmethod
    def fit(cls, rows: Floats, p: int, *, cosine: bool) -> Self:
        """Keep the segments, scaled to length 1 if `cosine`.

        Raises:
            FitError: `cosine`, and all segments have the same direction.
        """
        count = searched_neighbours(p)
        if not cosine:
            return cls(p, Neighbourhood(rows, count))
        directions = normalize(rows)
        if np.ptp(directions, axis=0).max() < 1e-12:
            raise FitError(f"knn_cosine with p={p}: all {len(rows)} embeddings have one direction")
        return cls(p, Neighbourhood(directions, count, cosine))

    def score(self, rows: Floats) -> Floats:
        """Return the mean distance (N,) of rows (N, D)."""
        return self.score_near(self.neighbourhood.of(rows))

    def score_near(self, near: Near) -> Floats:
        """Return the mean distance (N,) of rows to their nearest segments."""
        distances = near.distances[:, : self.p]
        # Half of the squared distance between directions is 1 - cosine.
        return np.asarray(
            (distances**2 / 2 if self.neighbourhood.cosine else distances).mean(axis=1)
        )


Neighbourly: TypeAlias = Lof | Knn
"""Models that score a row by its nearest segments alone."""


def share_search(models: Sequence[Neighbourly]) -> list[Neighbourly]:
    """Return models of equal segments that have the neighbourhood of the first."""
    return [replace(model, neighbourhood=models[0].neighbourhood) for model in models]


def score_near(models: Sequence[Neighbourly], rows: Floats) -> list[Floats]:
    """Score rows (N, D) by models that share a neighbourhood, with one search for all."""
    near = models[0].neighbourhood.of(rows)
    return [model.score_near(near) for model in models]


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
        among = Neighbourhood(distinct, searched_neighbours(p)).among
        return cls(distinct, among.distances[:, :p].mean(axis=1))

    def score(self, rows: Floats) -> Floats:
        """Return the relative distance (N,) of rows (N, D)."""
        relative = pairwise_distances(rows, self.embeddings) / self.radii
        nearest = relative.argmin(axis=1)
        # Computed again: by matrix products small distances have few digits.
        return np.asarray(_distances(rows, self.embeddings[nearest]) / self.radii[nearest])


def _distances(rows: Floats, segments: Floats) -> Floats:
    """Return the distance (N,) of each row (N, D) to the segment (N, D) beside it."""
    difference = rows - segments
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", difference, difference)))
