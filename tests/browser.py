"""Pages opened in a real browser: Debian's chromium, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

from tests.packages import PATH, lacking

WIDE, NARROW = 1280, 390
"""Widths of a laptop and of a telephone in px."""

PATIENCE = 300_000
"""Milliseconds after which a page counts as broken."""


@dataclass(frozen=True)
class Opened:
    """A page, and all that it did since it was opened.

    Attributes:
        complaints: errors and warnings of its console, and what its scripts did not catch.
        requests: addresses that it asked for, but for data that it holds itself.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window.

    Raises:
        LookupError: there is none and none can be installed.
    """
    if programs := lacking(["chromium"]):
        raise LookupError(f"a browser of its own needs {programs}")
    # Its own sandbox refuses root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium", path=PATH), args=flags
        )
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(
    at: Browser, file: Path, width: int = WIDE, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Opened]:
    """Opens a file.

    Args:
        at: the browser.
        file: a page.
        width: of the window in px.
        scheme: that the reader prefers.
    """
    context = at.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    seen = Opened(context.new_page())
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on(
        "console",
        lambda message: (
            seen.complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    seen.page.on(
        "request",
        lambda request: (
            None if request.url.startswith("data:") else seen.requests.append(request.url)
        ),
    )
    try:
        seen.page.goto(file.resolve().as_uri(), wait_until="load")
        yield seen
    finally:
        context.close()
