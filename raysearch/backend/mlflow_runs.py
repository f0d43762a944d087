"""Trials as runs of an MLflow server. Imported only where `tracking: mlflow` asks for it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback

from raysearch.backend.environment import MLFLOW, environment
from raysearch.errors import UserError, brief
from raysearch.storage import redact

SERVER = "MLFLOW_TRACKING_URI"


class MLflowRuns(MLflowLoggerCallback):
    """Tune's own logger, which loses its server rather than the search."""

    def __init__(self, study: str, warn: Callable[[str], None]) -> None:
        """Goes where `MLFLOW_TRACKING_URI` says; by MLflow's default that is a file here.

        Args:
            study: whose trials are told of; names the experiment, too.
            warn: told, once, that the server was lost.
        """
        import mlflow

        super().__init__(tracking_uri=str(mlflow.get_tracking_uri()), experiment_name=study)
        self.study, self.warn, self.lost = study, warn, False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for the pickles that Tune writes of its parts."""
        return {}

    def log_trial_start(self, trial: Any) -> None:
        """A run begins."""
        self._try(super().log_trial_start, trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A run has metrics."""
        self._try(partial(super().log_trial_result, iteration), trial, result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A run ends."""
        self._try(super().log_trial_end, trial, failed)

    def _try(self, log: Callable[..., None], trial: Any, *arguments: Any) -> None:
        if self.lost or trial.config["study"] != self.study:
            return
        try:
            log(trial, *arguments)
        except Exception as error:
            self.lost = True
            self.warn(f"MLflow was lost ({redact(brief(error))}); the search goes on without it")


def check_tracking() -> None:
    """Looks whether trials can be tracked, before anything is written.

    Raises:
        UserError: MLflow is not installed, or nobody answers.
    """
    with environment(MLFLOW):
        _check_server()


def _check_server() -> None:
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
            f"tracking: mlflow: nobody answers at {SERVER}={redact(mlflow.get_tracking_uri())} "
            f"({redact(brief(error))}); start it, or set tracking: none"
        ) from error
