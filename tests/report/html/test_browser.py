"""The report of a real search, opened in a real browser as its reader would.

Only a browser shows that a page draws its charts, and only a whole run has data for all of them.
"""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser

from tests.browser import NARROW, WIDE, browser, opened
from tests.command import Study, digests, raysearch

pytestmark = pytest.mark.slow

LARGEST = 15_000_000
"""Bytes of a page that can still be mailed."""

UNDRAWN = """() => [...document.querySelectorAll(".plot")]
  .filter((plot) => {
    const drawn = plot.querySelector(".main-svg");
    const marks = ".trace, .point, .points path, .barlayer path, .heatmaplayer image, .hm image";
    return !drawn || drawn.clientWidth < 100 || !plot.querySelector(marks);
  })
  .map((plot) => plot.id)"""

CHARTS = [
    *("leaders", "roc", "scores-0", "scores-1", "scores-2", "history", "inliers", "parallel"),
    *("importances", "slice-lr", "slice-batch_size", "slice-lambda", "slice-inlier", "slice-p"),
    *("training", "plane", "times"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with browser() as driver:
            yield driver
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def study(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The session's finished study, beside which tests may draw."""
    return finished.copy(tmp_path_factory.mktemp("report") / "home")


@pytest.fixture(scope="module")
def report(study: Study) -> Path:
    return study.folder / "report.html"


def test_the_run_says_where_its_report_is(study: Study) -> None:
    assert "report: runs/valve/report.html\n" in study.ended.out


def test_it_is_one_file_of_a_size_to_mail(report: Path) -> None:
    assert 1_000_000 < report.stat().st_size < LARGEST


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_chart_is_drawn_and_nothing_is_asked_of_the_network(
    chromium: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    with opened(chromium, report, width, scheme) as seen:
        assert seen.page.evaluate(UNDRAWN) == []
        plots = seen.page.query_selector_all(".plot")
        assert [plot.get_attribute("id") for plot in plots] == CHARTS
        assert seen.complaints == []
        assert [unquote(url) for url in seen.requests] == [report.resolve().as_uri()]
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_colours_follow_the_scheme_while_the_page_is_open(chromium: Browser, report: Path) -> None:
    colour = "getComputedStyle(document.querySelector('#history .xtick text')).fill"
    with opened(chromium, report) as seen:
        light = seen.page.evaluate(colour)
        seen.page.emulate_media(color_scheme="dark")
        seen.page.wait_for_function(f"{colour} !== '{light}'")
        assert seen.page.evaluate(UNDRAWN) == []
        seen.page.emulate_media(color_scheme="light")
        seen.page.wait_for_function(f"{colour} === '{light}'")
        assert seen.complaints == []


def test_a_chart_with_several_views_shows_one_at_a_time(chromium: Browser, report: Path) -> None:
    names = "[...document.querySelectorAll('#plane .legendtext')].map((each) => each.textContent)"
    with opened(chromium, report) as seen:
        legends = {}
        for label in ("product ID", "normal or anomalous", "machine type"):
            button = seen.page.get_by_role("button", name=label).last
            button.click()
            assert button.get_attribute("aria-pressed") == "true"
            legends[label] = seen.page.evaluate(names)
        ids = [f"ID {identity}" for identity in range(6)]
        assert sorted(legends["product ID"]) == [*ids, "other machine types"]
        assert {"normal", "anomalous"} <= set(legends["normal or anomalous"])
        assert sorted(legends["machine type"]) == ["fan", "pump", "valve"]
        assert seen.complaints == []


def test_the_sounds_can_be_played_and_the_pictures_seen(chromium: Browser, report: Path) -> None:
    with opened(chromium, report) as seen:
        sounds = seen.page.evaluate(
            """() => Promise.all([...document.querySelectorAll("audio")].map((audio) =>
                 new Promise((done) => {
                   audio.addEventListener("error", () => done(0));
                   audio.addEventListener("loadedmetadata", () => done(audio.duration));
                   audio.load();
                 })))"""
        )
        pictures = seen.page.evaluate(
            "[...document.images].map((image) => [image.naturalWidth, image.naturalHeight])"
        )
        assert 0 < len(sounds) == len(pictures) <= 5
        assert sounds == [pytest.approx(3.0)] * len(sounds)
        # 3 s at 16 kHz with a hop of 512, and 32 bands of the tiny front end.
        assert pictures == [[94, 32]] * len(pictures)


def test_it_prints_light_and_without_what_paper_cannot_do(
    chromium: Browser, report: Path, tmp_path: Path
) -> None:
    with opened(chromium, report, scheme="dark") as seen:
        pages = seen.page.pdf(format="A4")
        seen.page.emulate_media(media="print")
        assert not seen.page.is_visible("nav")
        assert not seen.page.is_visible("audio")
        assert seen.complaints == []
    assert 3 < len(re.findall(rb"/Type\s*/Page\b", pages)) < 40


def test_headings_go_down_in_order_and_every_picture_has_words(
    chromium: Browser, report: Path
) -> None:
    with opened(chromium, report) as seen:
        levels = seen.page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => +each.tagName[1])"
        )
        wordless = seen.page.evaluate(
            "[...document.querySelectorAll('img')].filter((each) => !each.alt).length"
            " + [...document.querySelectorAll('.plot')]"
            ".filter((each) => each.getAttribute('aria-label').length < 40).length"
        )
        ids = seen.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert wordless == 0
        assert len(ids) == len(set(ids))


def test_the_command_draws_the_same_again_and_one_over_all(
    chromium: Browser, study: Study, report: Path
) -> None:
    before = digests(study.folder)
    ended = raysearch("report", folder=study.home)
    assert ended.code == 0, ended
    assert ended.out.split() == ["runs/valve/report.html", "runs/report.html"]
    assert digests(study.folder) == before
    with opened(chromium, study.home / "runs" / "report.html", NARROW) as seen:
        assert seen.page.evaluate(UNDRAWN) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= NARROW
        seen.page.get_by_role("link", name="valve", exact=True).click()
        assert seen.page.url == report.resolve().as_uri()
        assert seen.complaints == []


def test_without_recordings_the_report_can_still_be_drawn(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "report.html").unlink()
    ended = raysearch("report", "elsewhere", folder=tmp_path)
    assert ended.code == 0, ended
    assert ended.out == "elsewhere/report.html\n"
    assert (tmp_path / "elsewhere" / "report.html").stat().st_size > 1_000_000
