"""Lines and progress bars on a console; bars appear on a terminal only."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from raysearch.errors import printable

ProgressBars = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Maker of progress bars: takes a description and the number of steps, None if unknown."""


@contextmanager
def no_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show no bar; a `ProgressBars`."""
    yield lambda steps: None


@contextmanager
def progress(
    console: Console, description: str, total: int | None
) -> Iterator[Callable[[int], None]]:
    """Show a bar that disappears at the end.

    Args:
        console: to draw on.
        description: of the work.
        total: number of steps.

    Yields:
        A function to call with the number of further finished steps.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(printable(description), total=total)
        yield lambda steps: bar.advance(task, steps)


@contextmanager
def transfer(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    """Show the bar of a download.

    Yields:
        A function to call with the bytes received and the bytes in total.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(description), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def say(console: Console, text: str) -> None:
    """Print lines without colours, markup or wrapping, and with control characters written out."""
    console.print(
        "\n".join(map(printable, text.split("\n"))), highlight=False, markup=False, soft_wrap=True
    )


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        say(self.console, self.format(record))


@contextmanager
def show_log(console: Console) -> Iterator[None]:
    """Print the log of raysearch on a console while the block runs."""
    logger, handler = logging.getLogger("raysearch"), _ConsoleHandler(console)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
