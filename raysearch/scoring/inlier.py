"""Inlier models: anomaly scores of embeddings against those of healthy machines.

One model is fitted per product ID on embeddings (N, D) of normal segments; `score` returns
one value per segment, `aggregate` one per clip, higher = more anomalous in both. spec.py has a
table of the models and their p. Shape letters: N segments, D dimensions of the embedding, C clips,
S segments a clip.

A fitted model is a few plain arrays (`arrays`, `restore`); nothing is pickled.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from raysearch.scoring.aggregate import aggregate
from raysearch.scoring.direct import ProductProbability
from raysearch.scoring.fitting import (
    FitError,
    Rows,
    explain_failures,
    finite_rows,
    fit_rows,
    one_thread,
)
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import (
    COUNTING,
    COVARIANCES,
    INLIERS,
    InlierSpec,
    searched_neighbours,
)

__all__ = [
    "INLIERS",
    "FitError",
    "InlierModel",
    "InlierSpec",
    "aggregate",
    "fit",
    "load",
    "remark",
    "restore",
    "score_blocks",
]

BLOCK = 1024
"""Segments that are scored at once, to bound the memory."""


class Formula(Protocol):
    """The arrays of a model, as a dataclass, and the score that they define."""

    def score(self, rows: Floats) -> Floats:
        """Return the anomaly score (N,) of rows (N, D), higher = more anomalous."""


@dataclass(frozen=True, eq=False)
class InlierModel:
    """A fitted inlier model."""

    formula: Formula

    def score(self, embeddings: Rows) -> Floats:
        """Return the anomaly score (N,) of embeddings (N, D), higher = more anomalous.

        Raises:
            ValueError: embeddings that are not finite.
        """
        rows = finite_rows(embeddings)
        with one_thread():
            blocks = [self.formula.score(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        return np.concatenate([np.empty(0), *blocks])

    def arrays(self) -> dict[str, Rows]:
        """Return the fitted model as arrays, from which `restore` rebuilds it."""
        return _arrays(self.formula)


def fit(
    spec: InlierSpec, embeddings: Rows, *, seed: int, reg_covar: float, direct: Formula | None
) -> InlierModel:
    """Fit an inlier model to embeddings (N, D) of normal segments of one product ID.

    Args:
        spec: inlier model and p.
        embeddings: of the segments.
        seed: of the mixtures' k-means start, the only random draw.
        reg_covar: added to the diagonal of each covariance of a mixture.
        direct: score of the method for this ID, used by `none`; None if it has none.

    Raises:
        FitError: `none` for a method without a score of its own; too few segments, or
            embeddings that are constant or not finite, or otherwise unfit for this model.
    """
    if spec.name == "none":
        if direct is None:
            raise FitError("the method has no score without an inlier model")
        return InlierModel(direct)
    rows = fit_rows(embeddings, fewest=_fewest_segments(spec), model=str(spec))
    load(spec)
    with one_thread(), explain_failures(str(spec)):
        arrays = _arrays(_fit_formula(spec, rows, seed, reg_covar))
    # Restored at once, so that a fitted and a stored model agree in every digit.
    return restore(spec.name, spec.p, arrays)


def restore(
    name: str,
    p: float | None,
    arrays: Mapping[str, Rows],
    *,
    direct: Callable[..., Formula] | None = ProductProbability,
) -> InlierModel:
    """Rebuild the fitted model of this name and p from its `arrays`.

    Args:
        name: of the model.
        p: of the model.
        arrays: of the model.
        direct: class of the method's score, for `none`.
    """
    spec = InlierSpec(name, p)
    copies: dict[str, Any] = {k: np.array(a, np.float64, order="C") for k, a in arrays.items()}
    if spec.name == "none":
        assert direct is not None, spec
        return InlierModel(direct(**copies))
    return InlierModel(_restore_formula(spec, copies))


def score_blocks(models: Sequence[InlierModel], blocks: Iterable[Rows]) -> Iterator[Floats]:
    """Score embeddings that come in blocks, to the scores of all at once.

    Args:
        models: M models.
        blocks: embeddings (N, D) of segments, at least one segment in all.

    Yields:
        Scores (M, N), N at most `BLOCK`, higher = more anomalous.

    Raises:
        ValueError: embeddings that are not finite.
    """
    for rows in _regroup(blocks):
        yield np.stack([model.score(rows) for model in models])


def _regroup(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Yield embeddings in blocks of `BLOCK` rows: another size could change the last digits."""
    waiting: Rows | None = None
    for block in blocks:
        rows = block if waiting is None else np.concatenate([waiting, block])
        whole = len(rows) - len(rows) % BLOCK
        yield from (rows[i : i + BLOCK] for i in range(0, whole, BLOCK))
        waiting = rows[whole:]
    if waiting is not None and len(waiting):
        yield waiting


def remark(spec: InlierSpec, n_clips: int, n_segments: int, dim: int) -> str:
    """Return a warning about this fit for the readers of its result, empty if there is none.

    It names the clips, too: segments of a clip overlap, so they are not independent.

    For covariances of full rank, a full component in `dim` dimensions needs `dim` + 1 segments, a
    diagonal one 2, and p tied ones `dim` + p together; with fewer on average `reg_covar`
    determines the density. Such a fit is allowed.
    """
    if spec.name not in COVARIANCES or spec.p is None:
        return ""
    kind = COVARIANCES[spec.name]
    needed = {"full": spec.p * (dim + 1), "diag": spec.p * 2, "tied": dim + spec.p}[kind]
    if n_segments >= needed:
        return ""
    components = "component" if spec.p == 1 else "components"
    clips = "1 clip" if n_clips == 1 else f"{n_clips} clips"
    return (
        f"degenerate: {spec.p} {kind} {components} on {n_segments} segments of {clips} "
        f"in {dim} dimensions"
    )


def _fewest_segments(spec: InlierSpec) -> int:
    """Return the number of segments that a model needs."""
    if spec.name not in COUNTING or spec.p is None:
        return 2
    # These two count neighbours of each fitted segment among the others.
    return int(spec.p) + (spec.name in ("lof", "knn_local"))


# Each model is imported where it is used: scikit-learn takes seconds, and a space has few models.

MODULES = {
    **dict.fromkeys(COVARIANCES, "mixture"),
    **dict.fromkeys(("lof", "knn", "knn_cosine", "knn_local"), "neighbours"),
    **dict.fromkeys(("ocsvm", "kde"), "kernel"),
    **dict.fromkeys(("mahalanobis", "pca"), "linear"),
    "none": "direct",
}
"""Module of each model."""


def load(spec: InlierSpec) -> None:
    """Import what fits a model: `one_thread` bounds the threads of loaded libraries alone."""
    import_module(f"raysearch.scoring.{MODULES[spec.name]}")


def _fit_formula(spec: InlierSpec, rows: Floats, seed: int, reg_covar: float) -> Formula:
    name, p = spec.name, spec.p
    assert p is not None, name
    if name in COVARIANCES:
        from raysearch.scoring.mixture import Mixture

        kind = COVARIANCES[name]
        return Mixture.fit(rows, int(p), covariance=kind, seed=seed, reg_covar=reg_covar)
    if name in COUNTING:
        return _fit_neighbours(name, int(p), rows)
    if name in ("ocsvm", "kde"):
        from raysearch.scoring.kernel import KernelSum

        return KernelSum.ocsvm(rows, p) if name == "ocsvm" else KernelSum.density(rows, p)
    from raysearch.scoring.linear import Mahalanobis, PcaResidual

    return Mahalanobis.fit(rows, p) if name == "mahalanobis" else PcaResidual.fit(rows, p)


def _fit_neighbours(name: str, p: int, rows: Floats) -> Formula:
    from raysearch.scoring.neighbours import Knn, KnnLocal, Lof

    if name == "lof":
        return Lof.fit(rows, p)
    if name == "knn_local":
        return KnnLocal.fit(rows, p)
    return Knn.fit(rows, p, cosine=name == "knn_cosine")


def _restore_formula(spec: InlierSpec, arrays: Mapping[str, Any]) -> Formula:
    name, p = spec.name, spec.p
    assert p is not None, name
    if name in COVARIANCES:
        from raysearch.scoring.mixture import Mixture

        return Mixture(COVARIANCES[name], **arrays)
    if name in COUNTING:
        return _restore_neighbours(name, int(p), arrays)
    if name in ("ocsvm", "kde"):
        from raysearch.scoring.kernel import KernelSum

        return KernelSum(**arrays)
    from raysearch.scoring.linear import Mahalanobis, PcaResidual

    return Mahalanobis(**arrays) if name == "mahalanobis" else PcaResidual(**arrays)


def _restore_neighbours(name: str, p: int, arrays: Mapping[str, Any]) -> Formula:
    from raysearch.scoring.neighbours import Knn, KnnLocal, Lof, Neighbourhood

    if name == "knn_local":
        return KnnLocal(**arrays)
    cosine = name == "knn_cosine"
    neighbourhood = Neighbourhood(**arrays, count=searched_neighbours(p), cosine=cosine)
    return Lof(p, neighbourhood) if name == "lof" else Knn(p, neighbourhood)


def _arrays(formula: Any) -> dict[str, Rows]:
    """Return the arrays of a dataclass, and of the dataclasses in it, by name."""
    arrays: dict[str, Rows] = {}
    for field in fields(formula):
        value = getattr(formula, field.name)
        if is_dataclass(value):
            arrays |= _arrays(value)
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
    return arrays
