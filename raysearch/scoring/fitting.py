"""Common steps of all inlier models: checked embeddings, reasons of failure, bounded threads."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from raysearch.scoring.metrics import Floats

Rows = NDArray[Any]
Job = TypeVar("Job")
Result = TypeVar("Result")

POOLED = ("scipy.linalg", "sklearn", "torch")
"""Libraries that bring pools of threads; numpy, which does so too, is always loaded."""


class FitError(ValueError):
    """A failed fit of an inlier model; the message is the reason."""


def finite_rows(embeddings: Rows) -> Floats:
    """Return embeddings (N, D) in float64.

    Raises:
        ValueError: embeddings that are not finite.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float64)
    assert rows.ndim == 2, rows.shape
    if not np.isfinite(rows).all():
        raise ValueError("embeddings are not finite")
    return rows


def fit_rows(embeddings: Rows, *, fewest: int, model: str) -> Floats:
    """Return embeddings (N, D) in float64, checked for the fit of `model`.

    Raises:
        FitError: fewer than `fewest` segments, or embeddings that are constant or not finite.
    """
    try:
        rows = finite_rows(embeddings)
    except ValueError as error:
        raise FitError(f"{model}: {error}") from error
    needed = max(fewest, 2)
    if len(rows) < needed:
        raise FitError(f"{model} needs at least {needed} segments, has {len(rows)}")
    if not np.ptp(rows, axis=0).any():
        raise FitError(f"{model}: all {len(rows)} embeddings are equal, the encoder has collapsed")
    return rows


@contextmanager
def explain_failures(model: str) -> Iterator[None]:
    """Convert errors of numpy, scipy and scikit-learn into a FitError of one line."""
    try:
        yield
    except FitError:
        raise
    except (ValueError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FitError(f"{model} could not be fitted: {reason}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Run BLAS and OpenMP on one thread.

    Fits are many and small: more threads are slower (2.4 times the time on two cores), and their
    order of summation would change the last digits from run to run. Libraries that are loaded
    within the block keep their threads.
    """
    with _controller(tuple(name in sys.modules for name in POOLED)).limit(limits=1):
        yield


def in_parallel(work: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> list[Result]:
    """Run jobs in several threads, each of them with one thread of BLAS and OpenMP.

    Results do not depend on the number of threads. The libraries that the jobs use must be loaded.

    Args:
        work: runs a job; safe in several threads.
        jobs: in the order in which they begin.
        threads: most jobs at once.

    Returns:
        Results in the order of the jobs.
    """
    # The limit of BLAS and the filters of warnings are the process's: set by each thread alone,
    # they would end for all with the first.
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if threads == 1 or len(jobs) < 2:
            return [work(job) for job in jobs]
        with ThreadPoolExecutor(threads, thread_name_prefix="inlier") as pool:
            return list(pool.map(partial(_alone, work), jobs))


def _alone(work: Callable[[Job], Result], job: Job) -> Result:
    # OpenMP has a limit in each thread.
    with one_thread():
        return work(job)


@cache
def _controller(loaded: tuple[bool, ...]) -> ThreadpoolController:
    """Find the thread pools of the loaded libraries, once: that takes longer than a small fit."""
    return ThreadpoolController()
