"""Models of a sweep that share work: a search for neighbours serves every p.

A model scores the same with its family as alone, in every digit.
"""

from collections.abc import Sequence

import numpy as np

from raysearch.scoring.fitting import Rows, finite_rows, one_thread
from raysearch.scoring.inlier import BLOCK, InlierModel
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import InlierSpec, searched_neighbours

METRICS = {"lof": "euclidean", "knn": "euclidean", "knn_cosine": "cosine"}
"""Distance of the models that score a segment by its nearest segments alone."""


def families(specs: Sequence[InlierSpec]) -> list[tuple[InlierSpec, ...]]:
    """Group specs, the greatest p first, by the search that their models share."""
    groups: dict[object, list[InlierSpec]] = {}
    for spec in sorted(dict.fromkeys(specs), key=lambda spec: -(spec.p or 0)):
        groups.setdefault(_search(spec), []).append(spec)
    return [tuple(group) for group in groups.values()]


def _search(spec: InlierSpec) -> object:
    if spec.name not in METRICS:
        return spec
    return METRICS[spec.name], searched_neighbours(int(spec.p or 1))


def score_family(models: Sequence[InlierModel], embeddings: Rows) -> list[Floats]:
    """Score embeddings (N, D) by models of a family that are fitted to the same segments.

    Returns:
        Scores (N,) of each model, higher = more anomalous.

    Raises:
        ValueError: embeddings that are not finite.
    """
    if len(models) < 2:
        return [model.score(embeddings) for model in models]
    from raysearch.scoring.neighbours import Knn, Lof, score_near, share_search

    formulas = [m.formula for m in models if isinstance(m.formula, Lof | Knn)]
    assert len(formulas) == len(models), models
    shared = share_search(formulas)
    rows = finite_rows(embeddings)
    with one_thread():
        blocks = [score_near(shared, rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
    empty = [np.empty(0)] * len(models)
    return [np.concatenate(scores) for scores in zip(empty, *blocks, strict=True)]
