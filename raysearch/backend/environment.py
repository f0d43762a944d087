"""Environment of Ray and MLflow: variables, set only while they are needed, and storage."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

START = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A process for each trial starts when the trial does, rather than one for each CPU at once.
    "RAY_prestart_worker_first_driver": "0",
    # Threads of OpenMP that spin while they wait make torch slower by orders of magnitude as soon
    # as anything else wants the same cores. Trials inherit it.
    "OMP_WAIT_POLICY": "PASSIVE",
    # By default glibc gives large tensors back to the system when they are freed, which clears each
    # page for the next step. With one heap that is kept a step on a CPU takes 0.7 of the time, and
    # embedding 0.4. Trials run in a thread, whose own heap would be too small for large tensors.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
"""Variables that Ray reads when it starts."""

SEARCH = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A line of the view says how an attempt failed; Tune prints a traceback on the driver, too.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Ctrl-C ends the trials at once: they resume from their checkpoints.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial stays in the folder that the command was typed in, so relative paths stay valid.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Variables that Tune reads when a search begins."""

TRAIN = {
    # Epochs reach Tune as soon as they are polled.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # The watcher is a process for each trial; a lost machine is noticed without it.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Variables that Ray Train reads when the workers of a trial start."""

MLFLOW = {
    # No telemetry about searches, and a lost server must not delay them for minutes.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Variables that MLflow reads at each request."""


@contextmanager
def environment(*defaults: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in this block, unless the user has set them.

    Args:
        defaults: values by name.
    """
    missing = {
        name: value
        for variables in defaults
        for name, value in variables.items()
        if name not in os.environ
    }
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def tune_storage(folder: UPath) -> tuple[str, Any]:
    """Return a folder as Ray's `storage_path` and `storage_filesystem` (of pyarrow, or None)."""
    if isinstance(folder, Path):
        return str(folder.absolute()), None
    from pyarrow.fs import FSSpecHandler, PyFileSystem  # type: ignore[import-untyped]

    return folder.path, PyFileSystem(FSSpecHandler(folder.fs))
