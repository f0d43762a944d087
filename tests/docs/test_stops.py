"""The table of docs/architecture.md that follows a run from the command to its report."""

import importlib
import re
from functools import reduce

import pytest

from tests.docs.pages import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
STOPS = re.findall(r"^\| `([a-z_]+\.[a-zA-Z_.]+)` \| \S", PAGE, re.MULTILINE)


def test_the_walk_has_its_stops() -> None:
    assert (STOPS[0], STOPS[-1]) == ("cli.main.run", "report.html.page.write_report")
    assert len(STOPS) == 26


@pytest.mark.parametrize("stop", STOPS)
def test_every_stop_exists(stop: str) -> None:
    parts = stop.split(".")
    count = 1 + max(n for n, part in enumerate(parts) if part.islower() and n < len(parts) - 1)
    module = importlib.import_module("raysearch." + ".".join(parts[:count]))
    assert callable(reduce(getattr, parts[count:], module))
