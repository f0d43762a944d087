"""Inlier models: how normal is an embedding among those of healthy machines?

One model is fitted per product ID on embeddings (N, D) of normal segments; `score` gives one
figure per segment, `aggregate` one per clip, higher = more anomalous in both. The models and their
p stand in a table in spec.py. Shape letters: N segments, D dimensions of the embedding, C clips,
S segments a clip.

A fitted model is a handful of plain arrays (`arrays`, `restore`); nothing is pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from raysearch.scoring.aggregate import aggregate
from raysearch.scoring.fitting import FitError, Rows, explain_failures, finite, fit_rows, one_thread
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import COUNTING, COVARIANCES, INLIERS, InlierSpec

__all__ = [
    "INLIERS",
    "FitError",
    "InlierModel",
    "InlierSpec",
    "aggregate",
    "fit",
    "remark",
    "restore",
]

BLOCK = 1024
"""Segments that are scored at once, which bounds the memory."""


class Formula(Protocol):
    """What each model brings: a dataclass of its arrays, and how they score."""

    def score(self, rows: Floats) -> Floats:
        """Anomaly score (N,) of rows (N, D), higher = more anomalous."""


@dataclass(frozen=True, eq=False)
class InlierModel:
    """A fitted inlier model."""

    formula: Formula

    def score(self, embeddings: Rows) -> Floats:
        """Anomaly score (N,) of embeddings (N, D), higher = more anomalous.

        Raises:
            ValueError: embeddings that are not finite.
        """
        rows = finite(embeddings)
        with one_thread():
            blocks = [self.formula.score(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        return np.concatenate([np.empty(0), *blocks])

    def arrays(self) -> dict[str, Rows]:
        """The fitted model as arrays, from which `restore` makes it again."""
        return _arrays(self.formula)


def fit(
    spec: InlierSpec, embeddings: Rows, *, seed: int, reg_covar: float, head_row: Rows
) -> InlierModel:
    """Fits an inlier model to embeddings (N, D) of normal segments of one product ID.

    Args:
        spec: which.
        embeddings: of the segments.
        seed: of the mixtures' k-means start; nothing else is drawn.
        reg_covar: added to the diagonal of each covariance of a mixture.
        head_row: the product head's row (D,) of the own ID, with which `none` scores.

    Raises:
        FitError: too few segments, or embeddings that are constant or not finite, or otherwise
            such that this model cannot be fitted to them.
    """
    if spec.name == "none":
        return restore(spec.name, spec.p, {"weight": head_row})
    rows = fit_rows(embeddings, fewest=_fewest(spec), what=str(spec))
    with one_thread(), explain_failures(str(spec)):
        arrays = _arrays(_fitted(spec, rows, seed, reg_covar))
    # A fitted and a restored model are one and the same, so they agree in every digit.
    return restore(spec.name, spec.p, arrays)


def restore(name: str, p: float | None, arrays: Mapping[str, Rows]) -> InlierModel:
    """The fitted model of this name and p whose `arrays` these are."""
    spec = InlierSpec(name, p)
    own: dict[str, Any] = {k: np.array(a, np.float64, order="C") for k, a in arrays.items()}
    return InlierModel(_restored(spec, own))


def remark(spec: InlierSpec, n_segments: int, dim: int) -> str:
    """What a reader of the result must know about this fit; empty if nothing.

    For covariances of full rank, a full component in `dim` dimensions needs `dim` + 1 segments, a
    diagonal one 2, and p tied ones `dim` + p together; with fewer on average it is `reg_covar`
    that shapes the density. Such a fit is allowed.
    """
    if spec.name not in COVARIANCES or spec.p is None:
        return ""
    kind = COVARIANCES[spec.name]
    needed = {"full": spec.p * (dim + 1), "diag": spec.p * 2, "tied": dim + spec.p}[kind]
    if n_segments >= needed:
        return ""
    components = "component" if spec.p == 1 else "components"
    return f"degenerate: {spec.p} {kind} {components} on {n_segments} segments in {dim} dimensions"


def _fewest(spec: InlierSpec) -> int:
    """Segments that a model needs."""
    if spec.name not in COUNTING or spec.p is None:
        return 2
    # The fitted segments are each other's neighbours in these two.
    return int(spec.p) + (spec.name in ("lof", "knn_local"))


# Each model is imported where it is used: scikit-learn takes seconds, and a space names few models.


def _fitted(spec: InlierSpec, rows: Floats, seed: int, reg_covar: float) -> Formula:
    name, p = spec.name, spec.p
    assert p is not None, name
    if name in COVARIANCES:
        from raysearch.scoring.mixture import Mixture

        kind = COVARIANCES[name]
        return Mixture.fit(rows, int(p), covariance=kind, seed=seed, reg_covar=reg_covar)
    if name in COUNTING:
        return _fitted_neighbours(name, int(p), rows)
    if name in ("ocsvm", "kde"):
        from raysearch.scoring.kernel import KernelSum

        return KernelSum.ocsvm(rows, p) if name == "ocsvm" else KernelSum.density(rows, p)
    from raysearch.scoring.linear import Mahalanobis, PcaResidual

    return Mahalanobis.fit(rows, p) if name == "mahalanobis" else PcaResidual.fit(rows, p)


def _fitted_neighbours(name: str, p: int, rows: Floats) -> Formula:
    from raysearch.scoring.neighbours import Knn, KnnLocal, Lof

    if name == "lof":
        return Lof(p, rows)
    if name == "knn_local":
        return KnnLocal.fit(rows, p)
    return Knn.fit(rows, p, cosine=name == "knn_cosine")


def _restored(spec: InlierSpec, arrays: Mapping[str, Any]) -> Formula:
    name, p = spec.name, spec.p
    if name == "none" or p is None:
        from raysearch.scoring.product import ProductProbability

        return ProductProbability(**arrays)
    if name in COVARIANCES:
        from raysearch.scoring.mixture import Mixture

        return Mixture(COVARIANCES[name], **arrays)
    if name in COUNTING:
        return _restored_neighbours(name, int(p), arrays)
    if name in ("ocsvm", "kde"):
        from raysearch.scoring.kernel import KernelSum

        return KernelSum(**arrays)
    from raysearch.scoring.linear import Mahalanobis, PcaResidual

    return Mahalanobis(**arrays) if name == "mahalanobis" else PcaResidual(**arrays)


def _restored_neighbours(name: str, p: int, arrays: Mapping[str, Any]) -> Formula:
    from raysearch.scoring.neighbours import Knn, KnnLocal, Lof

    if name == "lof":
        return Lof(p, **arrays)
    if name == "knn_local":
        return KnnLocal(**arrays)
    return Knn(p, name == "knn_cosine", **arrays)


def _arrays(formula: Any) -> dict[str, Rows]:
    values = {field.name: getattr(formula, field.name) for field in fields(formula)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
