"""What all inlier models have in common: checked embeddings, reasons of failure, one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from raysearch.scoring.metrics import Floats

Rows = NDArray[Any]


class FitError(ValueError):
    """An inlier model cannot be fitted to these embeddings; the message is the reason."""


def finite(embeddings: Rows) -> Floats:
    """Embeddings (N, D) in float64.

    Raises:
        ValueError: they are not finite.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float64)
    assert rows.ndim == 2, rows.shape
    if not np.isfinite(rows).all():
        raise ValueError("embeddings are not finite")
    return rows


def fit_rows(embeddings: Rows, *, fewest: int, what: str) -> Floats:
    """Embeddings (N, D) in float64, fit to be fitted by `what`.

    Raises:
        FitError: fewer than `fewest` segments, or embeddings that are constant or not finite.
    """
    try:
        rows = finite(embeddings)
    except ValueError as error:
        raise FitError(f"{what}: {error}") from error
    needed = max(fewest, 2)
    if len(rows) < needed:
        raise FitError(f"{what} needs at least {needed} segments, has {len(rows)}")
    if not np.ptp(rows, axis=0).any():
        raise FitError(f"{what}: all {len(rows)} embeddings are equal, the encoder has collapsed")
    return rows


@contextmanager
def explain_failures(what: str) -> Iterator[None]:
    """Turns whatever numpy, scipy and scikit-learn complain of into a FitError of one line."""
    try:
        yield
    except FitError:
        raise
    except (ValueError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FitError(f"{what} could not be fitted: {reason}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Run BLAS and OpenMP on one thread.

    Fits are many and small: the threads cost more than they bring (2.4 times the time on two
    cores), and the order in which they add up would move the last digits from run to run.
    """
    with _controller().limit(limits=1):
        yield


@cache
def _controller() -> ThreadpoolController:
    """Looked up once: finding the thread pools of a process takes longer than a small fit."""
    return ThreadpoolController()
