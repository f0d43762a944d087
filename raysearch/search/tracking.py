"""Trials as trackers show them: their configurations, and their curves in TensorBoard."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from raysearch.search.study import Proposal


def to_config(study: str, proposal: Proposal) -> dict[str, Any]:
    """A proposal as trackers show it: flat, by the names of space files, without what is unset."""
    names = {"lam": "lambda"}
    given = {k: v for k, v in asdict(proposal).items() if v is not None and v != ""}
    return {"study": study, **{names.get(key, key): value for key, value in given.items()}}


def to_proposal(config: Mapping[str, Any]) -> Proposal:
    """The proposal that a configuration was made of."""
    names = {"lambda": "lam"}
    return Proposal(**{names.get(k, k): v for k, v in config.items() if k != "study"})


class TensorBoard(LoggerCallback):
    """Tune's TensorBoard files, whose library is imported with the first result of a trial.

    tensorboardX imports torch: seconds in which the first trial would wait for the driver.
    """

    def __init__(self) -> None:
        """Write nothing yet."""
        self.logger: TBXLoggerCallback | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in the pickles that Tune writes of its parts."""
        return {}

    def log_trial_start(self, trial: Any) -> None:
        """Begin another file for a trial that starts again."""
        if self.logger is not None:
            self.logger.log_trial_start(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Add a point to each curve of a trial."""
        if self.logger is None:
            self.logger = TBXLoggerCallback()  # type: ignore[no-untyped-call]
        # It begins the file of a trial that has none.
        self.logger.log_trial_result(iteration, trial, result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close a trial's file, with its hyperparameters."""
        if self.logger is not None:
            self.logger.log_trial_end(trial, failed)
