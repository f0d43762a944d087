"""Searches that are replayed on a table of `grid.py`: plain searches and raysearch's."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from grid import EPOCHS

from raysearch.search.warm_start import WarmStart
from raysearch.study.records import Proposal, Record, State
from raysearch.training.outcome import Epoch, InlierResult

LIMIT = 400
"""Largest number of trainings of a search."""

Encoder = tuple[float, int, float]
Setting = tuple[str, int]


@dataclass(frozen=True)
class Grid:
    """Scores and losses of every encoder of a grid.

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
        """Highest score after the last epoch."""
        return max(float(np.nanmax(scores[-1])) for scores in self.scores.values())

    def values(self, axis: int) -> list[Any]:
        """List the learning rates (axis 0), batch sizes (1) or values of lambda (2)."""
        return sorted({encoder[axis] for encoder in self.scores})


def read(frame: pd.DataFrame) -> Grid:
    """Read a table of `grid.py`; inlier models without p are left out."""
    frame = frame[frame["inlier"].isin(["gmm", "lof"])]
    settings = [(name, int(p)) for name, p in frame[["inlier", "p"]].drop_duplicates().to_numpy()]
    scores, losses = {}, {}
    for _, rows in frame.groupby(["lr", "batch_size", "lambda"]):
        lr, batch_size, lam = rows[["lr", "batch_size", "lambda"]].to_numpy()[0]
        encoder = (float(lr), int(batch_size), float(lam))
        wide = rows.pivot(index="epoch", columns=["inlier", "p"], values="val_score")
        scores[encoder] = wide[settings].to_numpy(float)
        first = rows.drop_duplicates("epoch").sort_values("epoch")
        losses[encoder] = first[["val_machine_loss", "val_product_loss"]].to_numpy(float)
    return Grid(scores, losses, settings)


class Search(Protocol):
    """A search that is replayed."""

    def start(self) -> Any | None:
        """Start the next trial; None if there is none."""

    def report(self, trial: Any, epoch: int) -> bool:
        """Report an epoch of a trial; return False if the trial is pruned."""

    def end(self, trial: Any) -> float:
        """End a trial and return its score."""


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
                "inlier": tune.choice(sorted({name for name, _ in grid.settings})),
                "p": tune.choice(sorted({p for _, p in grid.settings})),
            },
        )

    def start(self) -> tuple[str, dict[str, Any]] | None:
        """Start a trial of the next sample."""
        self.number += 1
        name = f"trial{self.number}"
        config = self.search.suggest(name)
        return None if config is None else (name, config)

    def report(self, trial: tuple[str, dict[str, Any]], epoch: int) -> bool:
        """Return True: no trial is pruned."""
        return True

    def end(self, trial: tuple[str, dict[str, Any]]) -> float:
        """Return the score of the trial's setting."""
        name, config = trial
        encoder = (config["lr"], config["batch_size"], config["lambda"])
        score = _score(self.grid, encoder, (config["inlier"], config["p"]))
        failed = np.isnan(score)
        self.search.on_trial_complete(name, None if failed else {"score": score}, error=failed)
        return score


class Listed:
    """Five dimensions without a sampler: random, or all settings in shuffled order."""

    def __init__(self, grid: Grid, seed: int, *, replacement: bool) -> None:
        self.grid, self.rng, self.replacement = grid, random.Random(seed), replacement
        self.all: list[tuple[Encoder, Setting]] = list(
            itertools.product(grid.scores, grid.settings)
        )
        self.rng.shuffle(self.all)

    def start(self) -> tuple[Encoder, Setting] | None:
        """Start a trial of an encoder and a setting."""
        if self.replacement:
            return self.rng.choice(self.all)
        return self.all.pop() if self.all else None

    def report(self, trial: tuple[Encoder, Setting], epoch: int) -> bool:
        """Return True: no trial is pruned."""
        return True

    def end(self, trial: tuple[Encoder, Setting]) -> float:
        """Return the score of the trial's setting."""
        return _score(self.grid, *trial)


class Raysearch:
    """Sampler, scheduler and sweep of raysearch."""

    def __init__(self, grid: Grid, seed: int, *, starts: Sequence[WarmStart] = (), **strategy: Any):
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

    def start(self) -> Proposal | None:
        """Start a trial of an encoder that was not trained before."""
        return self.sampler.ask()

    def report(self, trial: Proposal, epoch: int) -> bool:
        """Report an epoch of a trial; return False if the scheduler prunes the trial."""
        if not self.sampler.report(trial.number, _epoch(self.grid, _encoder(trial), epoch)):
            return True
        self.sampler.tell(self._record(trial, State.PRUNED))
        return False

    def end(self, trial: Proposal) -> float:
        """Return the score of the best setting."""
        self.sampler.tell(self._record(trial, State.COMPLETE))
        return float(np.nanmax(self.grid.scores[_encoder(trial)][-1]))

    def _record(self, trial: Proposal, state: State) -> Record:
        scores = self.grid.scores[_encoder(trial)][-1]
        rows = [
            InlierResult(name, p, None if np.isnan(score) else float(score))
            for (name, p), score in zip(self.grid.settings, scores, strict=True)
        ]
        scored = tuple(rows) if state is State.COMPLETE else ()
        return Record(trial, state, "", EPOCHS, 0, "", rows=scored)


def _encoder(proposal: Proposal) -> Encoder:
    encoder = proposal.configuration
    assert encoder.lr is not None
    assert encoder.batch_size is not None
    assert encoder.lam is not None
    return (encoder.lr, encoder.batch_size, encoder.lam)


def _epoch(grid: Grid, encoder: Encoder, epoch: int) -> Epoch:
    machine, product = grid.losses[encoder][epoch - 1]
    loss, score = machine + product, float(np.nanmax(grid.scores[encoder][epoch - 1]))
    return Epoch(epoch, loss, machine, product, loss, machine, product, 1e-3, 1.0, score)


def _score(grid: Grid, encoder: Encoder, setting: Setting) -> float:
    if setting not in grid.settings:
        return float("nan")
    return float(grid.scores[encoder][-1][grid.settings.index(setting)])


def replay(search: Search, target: float, concurrent: int = 1) -> list[tuple[int, float]]:
    """Run a search on the table until it reaches the target or has no more trials.

    Args:
        search: to run.
        target: score that ends the search.
        concurrent: trials at once, which train an epoch each in turn.

    Returns:
        Epochs trained by all trials, and the best score so far, at every new best score and at the
        end of the search.
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
        trial, trained = running.pop(0)
        epochs += 1
        if not search.report(trial, trained + 1):
            continue
        if trained + 1 < EPOCHS:
            running.append((trial, trained + 1))
            continue
        score = search.end(trial)
        if score > best:
            best = score
            curve.append((epochs, best))
        if best >= target:
            return [*curve, (epochs, best)]
