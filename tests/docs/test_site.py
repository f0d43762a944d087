"""The site of `make docs`: built without a warning, and without requests to other hosts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import raysearch
from tests.docs.pages import PAGES, REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_page_is_built(site: Path) -> None:
    expected = {page.with_suffix(".html").name for page in PAGES if page.parent != REPOSITORY}
    assert expected <= {path.name for path in site.glob("*.html")}


def test_nothing_is_fetched(site: Path) -> None:
    fetched = re.compile(r"""(?:src|srcset)=["']?(https?:)?//|<link[^>]+href=["']?(https?:)?//""")
    for page in site.glob("*.html"):
        assert not fetched.search(page.read_text("utf-8")), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8"))


def test_pictures_bring_all_they_need() -> None:
    for picture in (REPOSITORY / "docs" / "images").glob("*.svg"):
        text = picture.read_text("utf-8")
        assert len(text) < 60_000
        assert not re.search(r"""(?:href|src)=["']|@import|url\(["']?http|@font-face""", text)


def test_the_api_page_has_every_public_name(site: Path) -> None:
    page = (site / "api.html").read_text("utf-8")
    shown = set(re.findall(r'<h3 id="raysearch\.[\w.]*?(\w+)" class="doc', page))
    assert shown - {"RunOptions", "Score", "Window"} == set(raysearch.__all__)
