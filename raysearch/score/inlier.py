"""Inlier models: how normal is an embedding among those of healthy machines?

One model is fitted per product ID on embeddings (N, D) of normal segments; `score` gives one
figure per segment, `aggregate` one per clip, higher = more anomalous in both. Shape letters:
N segments, D dimensions of the embedding, C clips, S segments a clip.

    gmm   Gaussian mixture of p components      negative log-likelihood
    lof   local outlier factor, p neighbours    outlier factor, about 1 for inliers
    none  no model, no p                        1 - probability of the clip's own product ID

A fitted model is a handful of plain arrays (`arrays`, `restore`); nothing is pickled.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from threadpoolctl import ThreadpoolController

from raysearch.errors import UserError

INLIERS: tuple[str, ...] = ("gmm", "lof", "none")
COVARIANCES: tuple[str, ...] = ("full", "diag", "tied")

Rows = NDArray[Any]
Floats = NDArray[np.float64]


class FitError(ValueError):
    """An inlier model cannot be fitted to these embeddings; the message is the reason."""


class InlierModel(Protocol):
    """What every inlier model does."""

    def fit(self, embeddings: Rows) -> Self:
        """Fit to embeddings (N, D) of normal segments of one product ID.

        Raises:
            FitError: too few segments, or embeddings that are constant or not finite.
        """

    def score(self, embeddings: Rows) -> Floats:
        """Anomaly score (N,) of embeddings (N, D), higher = more anomalous.

        Raises:
            ValueError: embeddings that are not finite.
        """

    def arrays(self) -> dict[str, Rows]:
        """The fitted model as arrays, from which `restore` makes it again."""


@dataclass(frozen=True)
class InlierSpec:
    """An inlier model and its p: components of `gmm`, neighbours of `lof`, None for `none`.

    Raises:
        UserError: an unknown model, or a p that does not belong to it.
    """

    name: str
    p: int | None

    def __post_init__(self) -> None:
        if self.name not in INLIERS:
            raise UserError(f"unknown inlier model {self.name!r}: choose from {', '.join(INLIERS)}")
        if self.name == "none" and self.p is not None:
            raise UserError(f"inlier model none takes no p, got p={self.p}: leave it out")
        if self.name != "none" and not (isinstance(self.p, int) and self.p >= 1):
            raise UserError(f"inlier model {self.name} needs an integer p >= 1, got p={self.p!r}")


class Gmm:
    """Gaussian mixture; the score is the negative log-likelihood (in nats)."""

    def __init__(
        self, n_components: int, seed: int = 0, covariance: str = "full", reg_covar: float = 1e-6
    ) -> None:
        """Prepare a mixture of `n_components` components, p, from a k-means start by `seed`.

        `covariance` is `full`, `diag` or `tied`; `reg_covar` is added to its diagonal, which
        keeps a component with fewer segments than dimensions invertible.

        Raises:
            UserError: an unknown covariance.
        """
        if covariance not in COVARIANCES:
            raise UserError(f"unknown covariance {covariance!r}: choose from {COVARIANCES}")
        self.mixture = GaussianMixture(
            n_components, covariance_type=covariance, reg_covar=reg_covar, random_state=seed
        )

    def fit(self, embeddings: Rows) -> Self:
        """Fit by expectation maximisation; see `InlierModel.fit`."""
        p = self.mixture.n_components
        rows = _fit_rows(embeddings, fewest=p, what=f"gmm with p={p}")
        with _one_thread(), warnings.catch_warnings():
            # An unconverged or doubled component is still a density; validation IDs judge it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                self.mixture.fit(rows)
            except (ValueError, np.linalg.LinAlgError) as error:
                reason = str(error).splitlines()[0]
                raise FitError(f"gmm with p={p} could not be fitted: {reason}") from error
        return self

    def score(self, embeddings: Rows) -> Floats:
        """Negative log-likelihood (N,); see `InlierModel.score`."""
        with _one_thread():
            return -np.asarray(self.mixture.score_samples(_rows(embeddings)), dtype=np.float64)

    def arrays(self) -> dict[str, Rows]:
        """Parameters of the mixture; `covariance_type` is an index into `COVARIANCES`."""
        mixture = self.mixture
        return {
            "weights": mixture.weights_,
            "means": mixture.means_,
            "covariances": mixture.covariances_,
            "precisions_cholesky": mixture.precisions_cholesky_,
            "covariance_type": np.asarray(COVARIANCES.index(mixture.covariance_type)),
        }

    @classmethod
    def from_arrays(cls, p: int, arrays: Mapping[str, Rows]) -> Self:
        """The model whose `arrays` these are."""
        model = cls(p, covariance=COVARIANCES[int(arrays["covariance_type"])])
        model.mixture.weights_ = arrays["weights"]
        model.mixture.means_ = arrays["means"]
        model.mixture.covariances_ = arrays["covariances"]
        model.mixture.precisions_cholesky_ = arrays["precisions_cholesky"]
        model.mixture.n_features_in_ = arrays["means"].shape[1]
        return model


class Lof:
    """Local outlier factor against the fitted segments; about 1 for inliers."""

    def __init__(self, n_neighbors: int) -> None:
        """Prepare a model that compares with `n_neighbors` neighbours, p."""
        self.factor = LocalOutlierFactor(n_neighbors=n_neighbors, novelty=True)
        self._rows: Floats = np.empty((0, 0))

    def fit(self, embeddings: Rows) -> Self:
        """Keep the segments and their densities; see `InlierModel.fit`."""
        p = self.factor.n_neighbors
        self._rows = _fit_rows(embeddings, fewest=p + 1, what=f"lof with p={p}").copy()
        with _one_thread():
            self.factor.fit(self._rows)
        return self

    def score(self, embeddings: Rows) -> Floats:
        """Local outlier factor (N,); see `InlierModel.score`."""
        with _one_thread():
            return -np.asarray(self.factor.score_samples(_rows(embeddings)), dtype=np.float64)

    def arrays(self) -> dict[str, Rows]:
        """The fitted segments: fitting is deterministic, so they are the whole model."""
        return {"embeddings": self._rows}

    @classmethod
    def from_arrays(cls, p: int, arrays: Mapping[str, Rows]) -> Self:
        """The model whose `arrays` these are."""
        return cls(p).fit(arrays["embeddings"])


class ProductProbability:
    """No inlier model ("without h" of Table III): 1 - probability of the own product ID."""

    def __init__(self, weight: Rows) -> None:
        """Take the product head's row (D,) of the own ID; that head has no bias."""
        self.weight: Floats = np.asarray(weight, dtype=np.float64)
        assert self.weight.ndim == 1, self.weight.shape

    def fit(self, embeddings: Rows) -> Self:
        """Do nothing: the head was fitted with the encoder. Here so that all models are alike."""
        return self

    def score(self, embeddings: Rows) -> Floats:
        """1 - sigmoid(logit), (N,); see `InlierModel.score`."""
        # sigmoid(-z) keeps the digits that 1 - sigmoid(z) loses where the probability nears 1.
        return np.asarray(expit(-(_rows(embeddings) @ self.weight)), dtype=np.float64)

    def arrays(self) -> dict[str, Rows]:
        """The row of the product head."""
        return {"weight": self.weight}


def build(
    spec: InlierSpec, *, seed: int, covariance: str, reg_covar: float, head_row: Rows | None
) -> InlierModel:
    """An unfitted model.

    `seed`, `covariance` and `reg_covar` are those of `Gmm`; `head_row` (D,) is the product
    head's row of the own ID, which `none` needs.
    """
    match spec:
        case InlierSpec("gmm", int(p)):
            return Gmm(p, seed, covariance, reg_covar)
        case InlierSpec("lof", int(p)):
            return Lof(p)
        case _:
            assert head_row is not None, "inlier model none scores with the product head"
            return ProductProbability(head_row)


def restore(name: str, p: int | None, arrays: Mapping[str, Rows]) -> InlierModel:
    """The fitted model of this name and p whose `arrays` these are."""
    match InlierSpec(name, p):
        case InlierSpec("gmm", int(p)):
            return Gmm.from_arrays(p, arrays)
        case InlierSpec("lof", int(p)):
            return Lof.from_arrays(p, arrays)
        case _:
            return ProductProbability(arrays["weight"])


def remark(spec: InlierSpec, n_segments: int, dim: int, covariance: str = "full") -> str:
    """What a reader of the result must know about this fit; empty if nothing.

    A full component in `dim` dimensions needs `dim` + 1 segments for a covariance of full rank;
    with fewer on average it is `reg_covar` that shapes the density. Such a fit is allowed.
    """
    if spec.name != "gmm" or spec.p is None or covariance != "full":
        return ""
    if n_segments >= spec.p * (dim + 1):
        return ""
    components = "component" if spec.p == 1 else "components"
    return f"degenerate: {spec.p} full {components} on {n_segments} segments in {dim} dimensions"


def aggregate(name: str, segment_scores: NDArray[Any]) -> Floats:
    """Clip scores (C,) from segment scores (C, S), with the aggregator of the model.

    `gmm`: mean of the scores strictly above the clip's median, or the median where none is (all
    equal, or one segment). `lof`, `none`: mean.
    """
    scores = np.asarray(segment_scores, dtype=np.float64)
    assert scores.ndim == 2, scores.shape
    assert scores.shape[1] > 0, scores.shape
    if name != "gmm":
        return np.asarray(scores.mean(axis=1), dtype=np.float64)
    median = np.median(scores, axis=1)
    above = scores > median[:, None]
    count = above.sum(axis=1)
    total = np.where(above, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), median)


def _rows(embeddings: Rows) -> Floats:
    """Embeddings (N, D) in float64; ValueError unless finite."""
    rows = np.asarray(embeddings, dtype=np.float64)
    assert rows.ndim == 2, rows.shape
    if not np.isfinite(rows).all():
        raise ValueError("embeddings are not finite")
    return rows


def _fit_rows(embeddings: Rows, *, fewest: int, what: str) -> Floats:
    """Embeddings (N, D) in float64, fit to be fitted; FitError otherwise."""
    try:
        rows = _rows(embeddings)
    except ValueError as error:
        raise FitError(f"{what}: {error}") from error
    needed = max(fewest, 2)
    if len(rows) < needed:
        raise FitError(f"{what} needs at least {needed} segments, has {len(rows)}")
    if not np.ptp(rows, axis=0).any():
        raise FitError(f"{what}: all {len(rows)} embeddings are equal, the encoder has collapsed")
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run BLAS and OpenMP on one thread.

    Fits are many and small: the threads cost more than they bring (2.4 times the time on two
    cores), and the order in which they add up would move the last digits from run to run.
    """
    with _controller().limit(limits=1):
        yield


@cache
def _controller() -> ThreadpoolController:
    """Looked up once: finding the thread pools of a process takes longer than a small fit."""
    return ThreadpoolController()
