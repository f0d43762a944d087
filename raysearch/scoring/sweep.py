"""All inlier models of a sweep: shared work, and models in several threads.

A model scores the same in a sweep as alone, in every digit.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from raysearch.scoring.fitting import FitError, Rows, finite_rows, in_parallel, one_thread
from raysearch.scoring.inlier import BLOCK, InlierModel, load
from raysearch.scoring.metrics import Floats
from raysearch.scoring.spec import InlierSpec, searched_neighbours

METRICS = {"lof": "euclidean", "knn": "euclidean", "knn_cosine": "cosine"}
"""Distance of the models that score a segment by its nearest segments alone."""

Outcome = Floats | ValueError | None
"""Scores (N,) of an ID's segments, None for an ID without, or why there are no scores."""


def score_sweep(
    specs: Sequence[InlierSpec],
    ids: Sequence[str],
    tests: Mapping[str, Rows],
    fit: Callable[[InlierSpec, str], InlierModel],
    threads: int,
) -> dict[tuple[InlierSpec, str], Outcome]:
    """Fit inlier models for some product IDs, and score segments with each.

    Args:
        specs: inlier models.
        ids: product IDs that models are fitted for.
        tests: embeddings (N, D) of the segments to score, for some of the IDs.
        fit: fits a model for an ID or raises FitError; called in several threads.
        threads: most models at once; no digit depends on them.
    """
    for spec in specs:
        load(spec)

    def score(job: tuple[tuple[InlierSpec, ...], str]) -> dict[InlierSpec, Outcome]:
        family, identity = job
        outcomes: dict[InlierSpec, Outcome] = dict.fromkeys(family)
        models = {}
        for spec in family:
            try:
                models[spec] = fit(spec, identity)
            except FitError as error:
                outcomes[spec] = error
        if identity not in tests:
            return outcomes
        try:
            scores = score_family(tuple(models.values()), tests[identity])
        except ValueError as error:
            return outcomes | dict.fromkeys(models, error)
        return outcomes | dict(zip(models, scores, strict=True))

    jobs = [(family, identity) for family in families(specs) for identity in ids]
    done = zip(jobs, in_parallel(score, jobs, threads), strict=True)
    return {(spec, i): outcome for (_, i), scored in done for spec, outcome in scored.items()}


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
