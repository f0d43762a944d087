"""The search strategy: the `strategy` of a space file."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from raysearch.config import Strict


class Finalists(Strict):
    """The best trials, trained again with further seeds.

    Attributes:
        top: number of finalists.
        seeds: number of seeds of each, including that of the search.
    """

    top: int = Field(3, gt=0)
    seeds: int = Field(3, gt=1)


REDUCTION = 3
"""Reduction factor: one of so many trials continues at a rung."""

GRACE = 3 / 5
"""Share of the epochs before a trial may be pruned."""

AUTO_TRIALS = 8
"""Least number of trials with which `auto` prunes and trains finalists."""


class Strategy(Strict):
    """The strategy of a search.

    Attributes:
        trials: number of trained encoders (with `inlier: sample`, of tried configurations).
        patience: number of consecutive trials without a better score after which the search stops;
            None is no limit.
        inlier: sweep scores every inlier model and p on each encoder; sample lets the sampler
            choose inlier model and p.
        sampler: Optuna sampler.
        warm_start: paper proposes the machine type's best configuration of Table I first.
        scheduler: pruning at rungs. asha keeps the best third of the trials at the same rung, with
            rungs after grace * 1, 3, 9, ... epochs; hyperband does the same, but some trials skip
            the first rungs; median keeps the better half, after every `grace` epochs; none keeps
            all. auto is asha from `AUTO_TRIALS` trials on.
        metric: value that rungs compare: score is the best validation score over the inlier models
            so far; loss is the validation loss with λ = 1, so that trials are comparable.
        grace: number of epochs before a trial may be pruned; None is `GRACE` of all. At earlier
            epochs the learning rate is high and scores predict the last one badly: a third of the
            epochs lost the best encoders in most searches (analysis/rank_correlation.py,
            search_efficiency.py).
        finalists: best trials that are trained with further seeds, so that one lucky seed does not
            decide. auto is the best 3 with 3 seeds from `AUTO_TRIALS` trials on. Before they are
            chosen, pruned trials are promoted until 3 times `top` came to their end.
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
    def _sampler_fits_inlier(self) -> "Strategy":
        if self.inlier == "sample" and self.sampler in ("cmaes", "qmc"):
            raise ValueError(
                f"sampler {self.sampler} cannot choose inlier models, since p depends on them; "
                "use inlier: sweep"
            )
        return self
