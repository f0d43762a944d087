"""Memory allocator of glibc, which raysearch sets for its trials and a plain program does not.

A process reads the variables when it starts, so bench.py itself runs with them, and only the plain
side runs without. Needs no torch: the process is started again before torch is imported.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from raysearch.backend.environment import START

ALLOCATOR = {name: value for name, value in START.items() if name.startswith("MALLOC_")}
"""Variables of a trial's process that a plain program does not set."""

STARTED = "BENCH_HAS_ALLOCATOR"
"""Variable of a process that was started again."""


def start_again_as_trial() -> None:
    """Replace this process by another with the variables of a trial's process."""
    if STARTED not in os.environ:
        variables = {**ALLOCATOR, **os.environ, STARTED: "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)


@contextmanager
def without_allocator() -> Iterator[None]:
    """Remove the variables of a trial's process from the environment in this block."""
    kept = {name: os.environ.pop(name) for name in ALLOCATOR if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
