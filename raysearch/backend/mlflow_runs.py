"""Trials as runs of an MLflow server. Imported only for `tracking: mlflow`."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback

from raysearch.backend.environment import MLFLOW, environment
from raysearch.errors import UserError, first_line, redact

SERVER = "MLFLOW_TRACKING_URI"


class MLflowRuns(MLflowLoggerCallback):
    """Tune's MLflow logger; a lost server ends the logging, not the search."""

    def __init__(self, study: str, warn: Callable[[str], None]) -> None:
        """Connect to `MLFLOW_TRACKING_URI`; MLflow's default is a local file.

        Args:
            study: name of the study whose trials are logged, and of the experiment.
            warn: receives one message if the server is lost.
        """
        import mlflow

        super().__init__(tracking_uri=str(mlflow.get_tracking_uri()), experiment_name=study)
        self.study, self.warn, self.lost = study, warn, False

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: the pickles that Tune writes are empty."""
        return {}

    def log_trial_start(self, trial: Any) -> None:
        """Start the run of a trial."""
        self._try(super().log_trial_start, trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the metrics of a trial's run."""
        self._try(partial(super().log_trial_result, iteration), trial, result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the run of a trial."""
        self._try(super().log_trial_end, trial, failed)

    def _try(self, log: Callable[..., None], trial: Any, *arguments: Any) -> None:
        if self.lost or trial.config["study"] != self.study:
            return
        try:
            log(trial, *arguments)
        except Exception as error:
            self.lost = True
            self.warn(
                f"MLflow was lost ({redact(first_line(error))}); the search continues without it"
            )


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
