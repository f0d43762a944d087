"""Distributed hyperparameter search for anomalous sound detection."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysearch.backend.search_callback import SearchCallback
    from raysearch.detector import Detector
    from raysearch.errors import (
        DataError,
        NoResultError,
        StoppedError,
        TrialError,
        UserError,
    )
    from raysearch.pipeline.api import run, run_trial
    from raysearch.pipeline.study import Study
    from raysearch.scoring.spec import InlierSpec
    from raysearch.study.space import Space
    from raysearch.training.configuration import Configuration

__version__ = "0.2.0"

__all__ = [
    "Configuration",
    "DataError",
    "Detector",
    "InlierSpec",
    "NoResultError",
    "SearchCallback",
    "Space",
    "StoppedError",
    "Study",
    "TrialError",
    "UserError",
    "run",
    "run_trial",
]

_HOMES = {
    "Configuration": "training.configuration",
    "DataError": "errors",
    "Detector": "detector",
    "InlierSpec": "scoring.spec",
    "NoResultError": "errors",
    "SearchCallback": "backend.search_callback",
    "Space": "study.space",
    "StoppedError": "errors",
    "Study": "pipeline.study",
    "TrialError": "errors",
    "UserError": "errors",
    "run": "pipeline.api",
    "run_trial": "pipeline.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch and Ray take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"raysearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
