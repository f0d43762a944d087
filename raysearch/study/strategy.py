"""How a space is searched: the `strategy` of a space file."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from raysearch.config import Strict


class Finalists(Strict):
    """The best trials, whose configurations are trained again with further seeds.

    Attributes:
        top: trials.
        seeds: of each in all, its own included.
    """

    top: int = Field(3, gt=0)
    seeds: int = Field(3, gt=1)


REDUCTION = 3
"""One of so many trials goes on at a rung."""

GRACE = 3 / 5
"""Share of the epochs that every trial gets."""

ENOUGH = 8
"""Trials from which on `auto` gives up poor ones and has finalists; with fewer, all are needed."""


class Strategy(Strict):
    """How the space is searched.

    Attributes:
        trials: encoders that are trained (with `inlier: sample`, configurations that are tried).
        patience: trials that end without a better score, one after the other, before no more are
            proposed; None does not look.
        inlier: sweep scores every inlier model and p on each encoder; sample has the sampler
            choose them with the rest.
        sampler: of Optuna.
        warm_start: paper begins with the machine type's best configuration of Table I.
        scheduler: gives up trials that are behind at a rung. asha keeps the best third of those
            that came as far, at rungs after grace * 1, 3, 9, ... epochs; hyperband the same with
            a part of the trials spared the first rungs; median the better half, after every
            `grace` epochs; none keeps all. auto is asha from `ENOUGH` trials on.
        metric: by which a rung compares: score is the best validation score over the inlier
            models so far; loss is the validation loss, with λ = 1 so that trials compare.
        grace: epochs that every trial gets; None is `GRACE` of all. Before, when the learning rate
            is still high, scores say too little of the last one: a third of the epochs lost the
            best encoders more often than not (analysis/rank_correlation.py, search_efficiency.py).
        finalists: the best trials that are trained with further seeds, so that the winner is not
            the luckiest. auto is the best 3 with 3 seeds from `ENOUGH` trials on.
        seed: of the sampler and of the trials.
    """

    trials: int = Field(50, gt=0)
    patience: int | None = Field(None, gt=0)
    inlier: Literal["sweep", "sample"] = "sweep"
    sampler: Literal["tpe", "gp", "cmaes", "random", "grid", "qmc"] = "tpe"
    warm_start: Literal["none", "paper"] = "none"
    scheduler: Literal["auto", "none", "asha", "hyperband", "median"] = "auto"
    metric: Literal["score", "loss"] = "score"
    grace: int | None = Field(None, gt=0)
    finalists: Finalists | Literal["auto", "none"] = "auto"
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator("finalists", mode="before")
    @classmethod
    def _finalists(cls, value: object) -> object:
        if isinstance(value, Finalists | dict) or value in ("auto", "none"):
            return value
        raise ValueError("auto, none or {top, seeds} is expected")

    @model_validator(mode="after")
    def _unconditional(self) -> "Strategy":
        if self.inlier == "sample" and self.sampler in ("cmaes", "qmc"):
            raise ValueError(
                f"sampler {self.sampler} cannot choose inlier models, since p depends on them; "
                "use inlier: sweep"
            )
        return self
