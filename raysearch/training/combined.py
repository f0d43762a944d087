"""The result of one configuration over several machine types, each with an encoder of its own.

Product IDs of the combined result are `machine/ID`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from statistics import fmean

from raysearch.scoring.metrics import ClipScores, harmonic_mean
from raysearch.training.outcome import Epoch, InlierResult, TrialResult


def machine_key(machine: str, identity: str) -> str:
    """Return the name of a machine type's product ID among those of several machine types."""
    return f"{machine}/{identity}"


def combine_rows(rows: Mapping[str, InlierResult]) -> InlierResult:
    """Combine the results of one inlier model and p over machine types.

    The score is the harmonic mean of all AUCs and pAUCs. An error of one machine type is an error
    of the whole: a configuration must work on all of them.

    Args:
        rows: by machine type; at least one.
    """
    first = next(iter(rows.values()))
    assert {row.spec for row in rows.values()} == {first.spec}
    errors = [f"{machine}: {row.error}" for machine, row in rows.items() if row.val_score is None]
    if errors:
        return InlierResult(first.inlier, first.p, error=errors[0])
    remarks = [f"{machine}: {row.remark}" for machine, row in rows.items() if row.remark]
    auc = {machine_key(m, i): v for m, row in rows.items() for i, v in row.auc.items()}
    pauc = {machine_key(m, i): v for m, row in rows.items() for i, v in row.pauc.items()}
    score = harmonic_mean([*auc.values(), *pauc.values()])
    return InlierResult(first.inlier, first.p, score, auc, pauc, remark=next(iter(remarks), ""))


def combine_results(results: Mapping[str, TrialResult]) -> TrialResult:
    """Combine the results of a trial's encoders, one for each machine type.

    An epoch of the whole has the mean losses of this epoch over the machine types, and their
    seconds together. Each encoder has a best epoch of its own, the whole has none.

    Args:
        results: by machine type; at least one, of the same inlier models.
    """
    parts = list(results.values())
    rows = [
        combine_rows({m: result.rows[k] for m, result in results.items()})
        for k in range(len(parts[0].rows))
    ]
    losses = [part.val_loss for part in parts if part.val_loss is not None]
    return TrialResult(
        rows=tuple(rows),
        history=tuple(map(_mean_epoch, zip(*(part.history for part in parts), strict=False))),
        resumes=tuple(epoch for part in parts for epoch in part.resumes),
        best_epoch=None,
        val_loss=fmean(losses) if losses else None,
        train_seconds=sum(part.train_seconds for part in parts),
        score_seconds=sum(part.score_seconds for part in parts),
    )


def combine_clips(scores: Mapping[str, ClipScores]) -> ClipScores:
    """Return the labels and scores of the clips of several machine types under `machine/ID`."""
    return {machine_key(m, i): clips for m, part in scores.items() for i, clips in part.items()}


def _mean_epoch(epochs: Sequence[Epoch]) -> Epoch:
    names = [field.name for field in fields(Epoch) if "loss" in field.name]
    means = {name: _mean(getattr(epoch, name) for epoch in epochs) for name in names}
    seconds = sum(epoch.seconds for epoch in epochs)
    return Epoch(**asdict(epochs[0]) | means | {"seconds": seconds, "val_score": None})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
