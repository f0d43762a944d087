"""Hand-made records of trials, for tests of what follows from them."""

from collections.abc import Mapping
from typing import Any

from raysearch.outcome import Epoch, InlierResult
from raysearch.search.records import Proposal, Record, State
from raysearch.search.space import Space

SPACE: dict[str, Any] = {
    "search": {
        "lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": [32, 64, 128],
        "lambda": [0.1, 1.0, 10.0],
        "inlier": {"gmm": [1, 2, 4], "lof": [4, 8], "none": []},
    }
}


def make_space(*, strategy: Mapping[str, Any] | None = None, **search: Any) -> Space:
    """The space above with a search and a strategy changed."""
    content = {"search": {**SPACE["search"], **search}, "strategy": dict(strategy or {})}
    return Space.model_validate(content)


def row(inlier: str, p: int | None, score: float | None, error: str = "") -> InlierResult:
    """A row whose AUCs and pAUCs all are the score."""
    if score is None:
        return InlierResult(inlier, p, error=error)
    values = dict.fromkeys(("0", "1", "2"), score)
    return InlierResult(inlier, p, score, values, values)


def complete(proposal: Proposal, *rows: InlierResult, **changes: Any) -> Record:
    """A trial that was finished."""
    facts: dict[str, Any] = {
        "proposal": proposal,
        "state": State.COMPLETE,
        "encoder": f"encoder{proposal.number}",
        "epochs": 2,
        "seed": 0,
        "host": "here",
        "best_epoch": 1,
        "val_loss": 0.5,
        "train_seconds": 1.23456,
        "score_seconds": 2.0,
        "rows": rows,
        "history": (Epoch(1, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 1e-3, 0.1),),
        "resumes": (1,),
    }
    return Record(**(facts | changes))


def failed(proposal: Proposal, error: str = "the loss is NaN in epoch 1") -> Record:
    """A trial that failed."""
    return Record(proposal, State.FAIL, f"encoder{proposal.number}", 2, 0, "here", error=error)


def as_written(trial: Mapping[str, Any]) -> dict[str, str]:
    """A trial of `raysearch status` as a table has it."""
    return {key: "" if value is None else str(value) for key, value in trial.items()}
