"""Curves of trials for TensorBoard."""

from collections.abc import Callable
from typing import Any, Self

from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from raysearch.backend.background_import import BackgroundImport

TENSORBOARD = "tensorboardX"
"""Library that writes TensorBoard's files."""


class TensorBoard(LoggerCallback):
    """Tune's TensorBoard files, written as soon as tensorboardX is imported.

    tensorboardX imports torch, which takes seconds and would delay the first trial.
    """

    def __init__(self, later: BackgroundImport) -> None:
        """Write nothing yet.

        Args:
            later: imports tensorboardX.
        """
        self.later = later
        self.logger: TBXLoggerCallback | None = None
        self.waiting: list[Callable[[TBXLoggerCallback], None]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: the pickles that Tune writes are empty."""
        return {}

    def __enter__(self) -> Self:
        """Wait for the first event."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write the waiting events."""
        if self.waiting:
            self._write()

    def log_trial_start(self, trial: Any) -> None:
        """Start a file of a trial, also when the trial restarts."""
        self._add(lambda logger: logger.log_trial_start(trial))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Add a point to each curve of a trial."""
        copy = dict(result)
        self._add(lambda logger: logger.log_trial_result(iteration, trial, copy))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close a trial's file, with its hyperparameters."""
        self._add(lambda logger: logger.log_trial_end(trial, failed))

    def _add(self, event: "Callable[[TBXLoggerCallback], None]") -> None:
        self.waiting.append(event)
        if self.later.is_loaded(TENSORBOARD):
            self._write()

    def _write(self) -> None:
        if self.logger is None:
            self.logger = TBXLoggerCallback()  # type: ignore[no-untyped-call]
        for event in self.waiting:
            event(self.logger)
        self.waiting.clear()
