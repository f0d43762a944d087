"""Trials as runs of an MLflow server. Imported only for `tracking: mlflow`."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback

from raysearch.backend.environment import MLFLOW, environment
from raysearch.errors import UserError, first_line, redact

SERVER = "MLFLOW_TRACKING_URI"
PAUSE = 30.0
"""Seconds after which a lost server is tried again."""


class MLflowRuns(MLflowLoggerCallback):
    """Tune's MLflow logger; a lost server does not end the search, and is told what it missed.

    What a server misses is kept in order, and told once it answers, at the latest at the end of the
    search.
    """

    def __init__(self, study: str, warn: Callable[[str], None]) -> None:
        """Connect to `MLFLOW_TRACKING_URI`; MLflow's default is a local file.

        Args:
            study: name of the study whose trials are logged, and of the experiment.
            warn: receives one message if the server is lost, and one if it is back.
        """
        import mlflow

        super().__init__(tracking_uri=str(mlflow.get_tracking_uri()), experiment_name=study)
        self.study, self.warn, self.lost = study, warn, False
        self.missed = deque[Callable[[], None]]()
        """Calls that the server has not had, the earliest first."""
        self.due = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: the pickles that Tune writes are empty."""
        return {}

    def log_trial_start(self, trial: Any) -> None:
        """Start the run of a trial."""
        self._try(super().log_trial_start, trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the metrics of a trial's run."""
        # Tune may use the dictionary again before the server has the metrics.
        self._try(partial(super().log_trial_result, iteration), trial, dict(result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the run of a trial."""
        self._try(super().log_trial_end, trial, failed)

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """Send the server what it missed, for the last time."""
        self._send()
        if self.missed:
            self.warn(f"MLflow did not come back: it lacks the last {len(self.missed)} messages")

    def _try(self, log: Callable[..., None], trial: Any, *arguments: Any) -> None:
        if trial.config["study"] != self.study:
            return
        self.missed.append(partial(log, trial, *arguments))
        if time.monotonic() >= self.due:
            self._send()

    def _send(self) -> None:
        """Send the server all that it has not had, until it does not answer."""
        while self.missed:
            # Ray's logger takes a server without an answer for one without the run.
            if (silence := _silence()) is not None:
                self._lose(silence)
                return
            try:
                self.missed[0]()
            except Exception as error:
                if _silence() is not None:
                    self._lose(error)
                    return
                self.warn(f"MLflow refused a message: {redact(first_line(error))}")
            self.missed.popleft()
        if self.lost:
            self.lost = False
            self.warn("MLflow is back, and was told what it missed")

    def _lose(self, error: Exception) -> None:
        self.due = time.monotonic() + PAUSE
        if not self.lost:
            self.lost = True
            self.warn(
                f"MLflow was lost ({redact(first_line(error))}); the search continues without it"
            )


def _silence() -> Exception | None:
    """Return the error of a server that does not answer; None if it does."""
    import mlflow

    try:
        mlflow.search_experiments(max_results=1)
    except Exception as error:
        return error
    return None


def check_tracking() -> None:
    """Check that trials can be tracked, before anything is written.

    Raises:
        UserError: MLflow is not installed, or its server does not answer.
    """
    with environment(MLFLOW):
        _check_server()


def _check_server() -> None:
    # Python's libraries show parts of an address in their errors.
    address = os.environ.get(SERVER, "")
    if address.startswith("http") and redact(address) != address:
        raise UserError(
            f"tracking: mlflow: {SERVER} holds a login; set MLFLOW_TRACKING_USERNAME and "
            f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and leave it out of {SERVER}"
        )
    try:
        import mlflow
    except ImportError as error:
        raise UserError(
            "tracking: mlflow needs the package; pip install 'raysearch[mlflow]'"
        ) from error
    try:
        mlflow.search_experiments(max_results=1)
    except Exception as error:
        raise UserError(
            f"tracking: mlflow: no server answers at {SERVER}={redact(mlflow.get_tracking_uri())} "
            f"({redact(first_line(error))}); start it, or set tracking: none"
        ) from error
