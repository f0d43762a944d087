"""The inlier models and their p.

    model        p                                        allowed             score of a segment
    gmm          components, each with a full covariance  integer >= 1        neg. log-likelihood
    gmm_diag     components, each with a diagonal one     integer >= 1        neg. log-likelihood
    gmm_tied     components, one full covariance for all  integer >= 1        neg. log-likelihood
    lof          neighbours                               integer >= 1        outlier factor
    knn          neighbours                               integer >= 1        mean distance to them
    knn_cosine   neighbours                               integer >= 1        mean cosine distance
    knn_local    neighbours of a neighbour                integer >= 1        relative distance
    mahalanobis  shrinkage of the covariance              0 <= p <= 1         distance to the mean
    pca          share of the variance that is explained  0 < p < 1           norm of what is not
    ocsvm        nu: share of the segments left outside   0 < p < 1           log of the margin
    kde          bandwidth, in multiples of Silverman's   0.001 <= p <= 1000  neg. log-density
    none         -                                        -                   1 - probability

No p depends on the scale of the embeddings: multiplying all of them by a factor keeps the order of
scores. Exceptions are Gaussian mixtures where `reg_covar` outweighs their variances, and `none`,
which is no function of distances. Logarithms are natural.
"""

from dataclasses import dataclass
from typing import get_args

from raysearch.config import Inlier
from raysearch.errors import UserError

INLIERS: tuple[str, ...] = get_args(Inlier)

COUNTING = ("gmm", "gmm_diag", "gmm_tied", "lof", "knn", "knn_cosine", "knn_local")
"""Models whose p is a number of components or neighbours."""

COVARIANCES = {"gmm": "full", "gmm_diag": "diag", "gmm_tied": "tied"}
"""Kind of covariances of each model, as scikit-learn calls them."""

SEARCHED = 64
"""Neighbours that are searched at once, a multiple of which covers p."""


@dataclass(frozen=True)
class InlierSpec:
    """An inlier model and its p, see the table above.

    Raises:
        UserError: an unknown model, or a p that does not belong to it.
    """

    name: str
    p: float | None

    def __post_init__(self) -> None:
        if self.name not in INLIERS:
            raise UserError(f"unknown inlier model {self.name!r}: choose from {', '.join(INLIERS)}")
        if self.name == "none" and self.p is not None:
            raise UserError(f"inlier model none takes no p, got p={self.p}: leave it out")
        if not _is_allowed(self.name, self.p):
            requirement = _requirement(self.name)
            raise UserError(f"inlier model {self.name} needs {requirement}, got p={self.p!r}")

    def __str__(self) -> str:
        return self.name if self.p is None else f"{self.name} with p={self.p}"


def searched_neighbours(p: int) -> int:
    """Return how many neighbours a model of neighbours searches, so that several p share them."""
    return -(-p // SEARCHED) * SEARCHED


def _is_allowed(name: str, p: object) -> bool:
    if name == "none":
        return p is None
    if isinstance(p, bool) or not isinstance(p, int | float):
        return False
    match name:
        case "mahalanobis":
            return 0 <= p <= 1
        case "pca" | "ocsvm":
            return 0 < p < 1
        case "kde":
            return 0.001 <= p <= 1000
    assert name in COUNTING, name
    return isinstance(p, int) and p >= 1


def _requirement(name: str) -> str:
    match name:
        case "mahalanobis":
            return "a shrinkage 0 <= p <= 1"
        case "pca":
            return "a share of the variance 0 < p < 1"
        case "ocsvm":
            return "a share of outliers 0 < p < 1"
        case "kde":
            return "a relative bandwidth 0.001 <= p <= 1000"
    return "an integer p >= 1"
