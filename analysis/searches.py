"""Searches that are replayed on a table of `grid.py`: plain ones, and raysearch."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from grid import EPOCHS

LIMIT = 400
"""Trainings after which a search has failed."""

Encoder = tuple[float, int, float]
Setting = tuple[str, int]


@dataclass(frozen=True)
class Grid:
    """What every encoder would do.

    Attributes:
        scores: encoder -> (E, S): after each epoch, of each setting; NaN where it cannot be fitted.
        losses: encoder -> (E, 2): machine and product loss on held-out clips.
        settings: inlier model and p, in the order of `scores`.
    """

    scores: Mapping[Encoder, np.ndarray]
    losses: Mapping[Encoder, np.ndarray]
    settings: Sequence[Setting]

    @property
    def best(self) -> float:
        """The highest score after the last epoch."""
        return max(float(np.nanmax(scores[-1])) for scores in self.scores.values())

    def values(self, axis: int) -> list[Any]:
        """The learning rates, batch sizes or values of lambda."""
        return sorted({encoder[axis] for encoder in self.scores})


def read(frame: pd.DataFrame) -> Grid:
    """Reads a table of `grid.py`; inlier models without p are left out."""
    frame = frame[frame["inlier"].isin(["gmm", "lof"])]
    settings = [(h, int(p)) for h, p in frame[["inlier", "p"]].drop_duplicates().to_numpy()]
    scores, losses = {}, {}
    for key, rows in frame.groupby(["lr", "batch_size", "lambda"]):
        encoder = (float(key[0]), int(key[1]), float(key[2]))
        wide = rows.pivot(index="epoch", columns=["inlier", "p"], values="val_score")
        scores[encoder] = wide[settings].to_numpy(float)
        first = rows.drop_duplicates("epoch").sort_values("epoch")
        losses[encoder] = first[["val_machine_loss", "val_product_loss"]].to_numpy(float)
    return Grid(scores, losses, settings)


class Search(Protocol):
    """A search that is replayed."""

    def start(self) -> Any | None:
        """The next trial; None when there is none."""

    def goes_on(self, trial: Any, epoch: int) -> bool:
        """Takes an epoch of a trial; False gives it up."""

    def end(self, trial: Any) -> float:
        """Takes the end of a trial; returns its score."""


class Plain:
    """A real OptunaSearch over five dimensions."""

    def __init__(self, grid: Grid, seed: int) -> None:
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        self.grid, self.number = grid, 0
        self.search = OptunaSearch(seed=seed)
        self.search.set_search_properties(
            "score",
            "max",
            {
                "lr": tune.choice(grid.values(0)),
                "batch_size": tune.choice(grid.values(1)),
                "lambda": tune.choice(grid.values(2)),
                "inlier": tune.choice(sorted({h for h, _ in grid.settings})),
                "p": tune.choice(sorted({p for _, p in grid.settings})),
            },
        )

    def start(self) -> tuple[str, dict[str, Any]] | None:
        """One sample."""
        self.number += 1
        name = f"trial{self.number}"
        config = self.search.suggest(name)
        return None if config is None else (name, config)

    def goes_on(self, trial: tuple[str, dict[str, Any]], epoch: int) -> bool:
        """Always."""
        return True

    def end(self, trial: tuple[str, dict[str, Any]]) -> float:
        """One setting's score."""
        name, config = trial
        encoder = (config["lr"], config["batch_size"], config["lambda"])
        score = _score(self.grid, encoder, (config["inlier"], config["p"]))
        failed = np.isnan(score)
        self.search.on_trial_complete(name, None if failed else {"score": score}, error=failed)
        return score


class Listed:
    """Five dimensions without a sampler: by chance, or everything in shuffled order."""

    def __init__(self, grid: Grid, seed: int, *, again: bool) -> None:
        self.grid, self.rng, self.again = grid, random.Random(seed), again
        self.all = list(itertools.product(grid.scores, grid.settings))
        self.rng.shuffle(self.all)

    def start(self) -> tuple[Encoder, Setting] | None:
        """One encoder and setting."""
        if self.again:
            return self.rng.choice(self.all)
        return self.all.pop() if self.all else None

    def goes_on(self, trial: tuple[Encoder, Setting], epoch: int) -> bool:
        """Always."""
        return True

    def end(self, trial: tuple[Encoder, Setting]) -> float:
        """One setting's score."""
        return _score(self.grid, *trial)


class Raysearch:
    """raysearch's own sampler, scheduler and sweep."""

    def __init__(self, grid: Grid, seed: int, *, starts: Sequence[Any] = (), **strategy: Any):
        from raysearch.search.sampler import Sampler
        from raysearch.study.space import Space

        self.grid = grid
        content = {
            "search": {
                "lr": grid.values(0),
                "batch_size": grid.values(1),
                "lambda": grid.values(2),
                "inlier": {"gmm": [1], "lof": [1]},
            },
            "fixed": {"epochs": EPOCHS},
            "strategy": {"trials": len(grid.scores), "seed": seed, **strategy},
        }
        self.sampler = Sampler(Space.model_validate(content), None)
        self.sampler.enqueue(starts)

    def start(self) -> Any | None:
        """An encoder that was not trained before."""
        return self.sampler.ask()

    def goes_on(self, trial: Any, epoch: int) -> bool:
        """Until the scheduler gives it up."""
        if not self.sampler.report(trial.number, _epoch(self.grid, _encoder(trial), epoch)):
            return True
        self.sampler.tell(self._record(trial, "PRUNED"))
        return False

    def end(self, trial: Any) -> float:
        """The best setting's score."""
        self.sampler.tell(self._record(trial, "COMPLETE"))
        return float(np.nanmax(self.grid.scores[_encoder(trial)][-1]))

    def _record(self, trial: Any, state: str) -> Any:
        from raysearch.study.records import Record, State
        from raysearch.training.outcome import InlierResult

        scores = self.grid.scores[_encoder(trial)][-1]
        rows = [
            InlierResult(h, p, None if np.isnan(score) else float(score))
            for (h, p), score in zip(self.grid.settings, scores, strict=True)
        ]
        done = tuple(rows) if state == "COMPLETE" else ()
        return Record(trial, State(state), "", EPOCHS, 0, "", rows=done)


def _encoder(proposal: Any) -> Encoder:
    encoder = proposal.configuration
    return (encoder.lr, encoder.batch_size, encoder.lam)


def _epoch(grid: Grid, encoder: Encoder, epoch: int) -> Any:
    from raysearch.training.outcome import Epoch

    machine, product = grid.losses[encoder][epoch - 1]
    loss, score = machine + product, float(np.nanmax(grid.scores[encoder][epoch - 1]))
    return Epoch(epoch, loss, machine, product, loss, machine, product, 1e-3, 1.0, score)


def _score(grid: Grid, encoder: Encoder, setting: Setting) -> float:
    if setting not in grid.settings:
        return float("nan")
    return float(grid.scores[encoder][-1][grid.settings.index(setting)])


def replay(search: Search, target: float, concurrent: int = 1) -> list[tuple[int, float]]:
    """Runs a search on the table until it has reached the target, or given up.

    Args:
        search: which.
        target: score that is good enough.
        concurrent: trials at once, which train an epoch each in turn.

    Returns:
        Epochs trained by all trials, and the best score so far, whenever that rose; the last entry
        tells when the search ended.
    """
    running: list[tuple[Any, int]] = []
    epochs, started, best = 0, 0, 0.0
    curve: list[tuple[int, float]] = []
    while True:
        while len(running) < concurrent and started < LIMIT:
            trial = search.start()
            if trial is None:
                break
            started += 1
            running.append((trial, 0))
        if not running:
            return [*curve, (epochs, best)]
        trial, done = running.pop(0)
        epochs += 1
        if not search.goes_on(trial, done + 1):
            continue
        if done + 1 < EPOCHS:
            running.append((trial, done + 1))
            continue
        score = search.end(trial)
        if score > best:
            best = score
            curve.append((epochs, best))
        if best >= target:
            return [*curve, (epochs, best)]
