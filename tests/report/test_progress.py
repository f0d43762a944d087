"""The log of raysearch on a console."""

import logging
from io import StringIO

import pytest
from rich.console import Console

from raysearch.report.progress import show_log

LOGGER = logging.getLogger("raysearch")


def state() -> tuple[int, int, bool]:
    return LOGGER.level, len(LOGGER.handlers), LOGGER.propagate


def test_lines_of_the_log_are_printed_as_they_are() -> None:
    file = StringIO()
    with show_log(Console(file=file, width=20)):
        logging.getLogger("raysearch.pipeline.run").info("[bold] %s", "longer than twenty columns")
        logging.getLogger("elsewhere").warning("of another library")
    assert file.getvalue() == "[bold] longer than twenty columns\n"


def test_logging_is_left_as_it_was() -> None:
    before = state()
    file = StringIO()
    try:
        with show_log(Console(file=file)):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert state() == before
    LOGGER.info("after the end")
    assert file.getvalue() == ""


def test_a_quiet_console_prints_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    with show_log(Console(quiet=True)):
        LOGGER.warning("not to be seen")
    assert capfd.readouterr() == ("", "")
