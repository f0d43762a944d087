"""Hand-made records of trials for tests."""

from collections.abc import Mapping
from typing import Any

from raysearch.study.manifest import Manifest
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.training.outcome import Epoch, InlierResult

SPACE: dict[str, Any] = {
    "search": {
        "lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": [32, 64, 128],
        "lambda": [0.1, 1.0, 10.0],
        "inlier": {"gmm": [1, 2, 4], "lof": [4, 8], "none": []},
    }
}


def make_space(*, strategy: Mapping[str, Any] | None = None, **search: Any) -> Space:
    """Make `SPACE` with changes of search and strategy."""
    content = {"search": {**SPACE["search"], **search}, "strategy": dict(strategy or {})}
    return Space.model_validate(content)


def make_manifest(space: Space | None = None, machine: str = "valve", **changes: Any) -> Manifest:
    """Make the content of a study.json."""
    searched = space or make_space()
    content: dict[str, Any] = {
        "machine": machine,
        "ids": ("0", "1", "2", "3", "4", "5"),
        "validation_ids": searched.validation_ids,
        "test_ids": searched.test_ids,
        "data": "/data",
        "fingerprint": "f" * 64,
        "clips": {
            "training": dict.fromkeys("012345", 40),
            "validation": {i: {"normal": 20, "anomalous": 20} for i in "012"},
            "other machine types": {"fan": 240, "pump": 240},
            "left out": 1,
        },
        "space_file": "tiny.yaml",
        "space": searched.model_dump(mode="json", by_alias=True),
        "seed": 0,
        "command": f"raysearch run --machine {machine}",
        "started": "2026-11-25T10:00:00+00:00",
        "versions": {"raysearch": "0.2.0", "python": "3.11.2", "torch": "2.14.1"},
    }
    return Manifest.model_validate(content | changes)


def row(inlier: str, p: float | None, score: float | None, error: str = "") -> InlierResult:
    """Make a row whose AUCs and pAUCs equal the score."""
    if score is None:
        return InlierResult(inlier, p, error=error)
    values = dict.fromkeys(("0", "1", "2"), score)
    return InlierResult(inlier, p, score, values, values)


def complete(proposal: Proposal, *rows: InlierResult, **changes: Any) -> Record:
    """Make the record of a complete trial."""
    facts: dict[str, Any] = {
        "proposal": proposal,
        "state": State.COMPLETE,
        "encoder": f"encoder{proposal.number}",
        "epochs": 2,
        "seed": proposal.seed or 0,
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
    """Make the record of a failed trial."""
    return Record(proposal, State.FAIL, f"encoder{proposal.number}", 2, 0, "here", error=error)


def as_written(trial: Mapping[str, Any]) -> dict[str, str]:
    """Convert a trial of `raysearch status` to the cells of a table."""
    return {key: "" if value is None else str(value) for key, value in trial.items()}
