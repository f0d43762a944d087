"""Selection of a winner, and an estimate of its score without the optimism of the selection.

The highest of many scores is high by luck as well: its clips and its seed favoured it. So each
validation ID is scored by the configuration that the other IDs choose, where it has further seeds
by these, as the seed of the search took part in the choice. No score then counts for a
configuration that the score itself chose.
"""

from collections.abc import Sequence
from statistics import fmean

from raysearch.scoring.metrics import harmonic_mean
from raysearch.study.ranking import Candidate


def unselected_score(candidates: Sequence[Candidate]) -> float | None:
    """Estimate the score that the best of some configurations has without having been chosen.

    The estimate is of a choice by one ID fewer, hence rather low than high where configurations
    differ much.

    Args:
        candidates: all that were tried.

    Returns:
        Harmonic mean of AUC and pAUC over the IDs; None for a single configuration or ID.
    """
    if len(candidates) < 2:
        return None
    ids = list(candidates[0].trainings[0].row.auc)
    if len(ids) < 2 or any(list(c.trainings[0].row.auc) != ids for c in candidates):
        return None
    values = [value for identity in ids for value in _judged(candidates, identity)]
    return harmonic_mean(values)


def _judged(candidates: Sequence[Candidate], identity: str) -> tuple[float, float]:
    """Return AUC and pAUC of an ID with the configuration that the other IDs choose.

    Where several are best alike, as many are perfect on an easy ID, their mean counts: the order of
    the trials must not decide.
    """
    scores = [_score_without(candidate, identity) for candidate in candidates]
    best = max(scores)
    chosen = [c for c, score in zip(candidates, scores, strict=True) if score == best]
    areas = [_unselected_areas(candidate, identity) for candidate in chosen]
    return fmean(auc for auc, _ in areas), fmean(pauc for _, pauc in areas)


def _unselected_areas(candidate: Candidate, identity: str) -> tuple[float, float]:
    rows = [training.row for training in candidate.trainings[1:] or candidate.trainings]
    return fmean(row.auc[identity] for row in rows), fmean(row.pauc[identity] for row in rows)


def _score_without(candidate: Candidate, identity: str) -> float:
    row = candidate.trainings[0].row
    areas = (row.auc, row.pauc)
    return harmonic_mean(area[other] for area in areas for other in row.auc if other != identity)
