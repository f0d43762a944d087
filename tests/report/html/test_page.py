"""The page of a study in all states that a study can be in."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.html.page import render, study_page, write_report
from raysearch.report.html.parts import Absent, Page, Part, draw
from raysearch.scoring.spec import InlierSpec
from raysearch.storage import to_path
from raysearch.study.folder import StudyFolder
from raysearch.study.records import State
from raysearch.study.results import read_results
from raysearch.study.scores import write_scores
from tests import runs
from tests.records import make_space


class Reader(HTMLParser):
    """Parser that collects the texts, addresses and scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self.within in ("script", "style") else self.texts).append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def whole(study: StudyFolder) -> None:
    runs.add(study, runs.records())
    runs.conclude(study)
    runs.take_final_test(study, runs.final_scores())
    runs.explain(study)


def running(study: StudyFolder) -> None:
    runs.add(study, runs.records(3))


def all_failed(study: StudyFolder) -> None:
    runs.add(study, [replace(r, proposal=replace(r.proposal, number=0)) for r in FAILED])


FAILED = [record for record in runs.records() if record.state is State.FAIL]


def nothing(study: StudyFolder) -> None:
    """Leave the study without trials."""


def untested(study: StudyFolder) -> None:
    runs.add(study, runs.records())
    runs.conclude(study)


def single_trial(study: StudyFolder) -> None:
    runs.add(study, runs.records(1))
    runs.conclude(study)


def unlabelled(study: StudyFolder) -> None:
    untested(study)
    write_scores(study.path / "final_scores.csv", runs.final_scores(labelled=False))


def easy(study: StudyFolder) -> None:
    """Let every trial, inlier model and clip have the same score."""
    same = [
        replace(record, rows=tuple(replace(each, val_score=1.0) for each in record.rows))
        for record in runs.records()
    ]
    runs.add(study, same)
    runs.conclude(study)
    runs.take_final_test(study, [replace(score, score=1.0) for score in runs.final_scores()])
    runs.explain(study)


Fill = Callable[[StudyFolder], None]
"""Function that fills a study."""


class Pages:
    """Pages of studies in all states, each drawn once. Read only."""

    def __init__(self, home: Path) -> None:
        self.home, self._pages = home, dict[Fill, Page]()

    def folder(self, fill: Fill) -> UPath:
        return to_path(self.home / fill.__name__ / "valve")

    def __call__(self, fill: Fill) -> Page:
        if fill not in self._pages:
            fill(runs.begin(self.folder(fill)))
            self._pages[fill] = self.draw(fill)
        return self._pages[fill]

    def draw(self, fill: Fill) -> Page:
        return study_page(read_results(self.folder(fill)))


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


def absent(page: Page) -> dict[str, str]:
    parts = [part for section in page.sections for part in section.parts]
    return {part.title: part.reason for part in parts if isinstance(part, Absent)}


STATES = [whole, running, all_failed, nothing, untested, single_trial, unlabelled, easy]


def test_a_part_that_cannot_be_drawn_costs_no_other() -> None:
    def broken() -> Part:
        raise ZeroDivisionError("division by zero")

    part = draw("History", broken)
    reason = "This part cannot be drawn: ZeroDivisionError: division by zero."
    assert part == Absent("History", reason)


@pytest.mark.parametrize("fill", STATES)
def test_every_state_has_its_page_and_no_chart_is_empty(page_of: Pages, fill: Fill) -> None:
    page = page_of(fill)
    assert page.title.startswith("valve: ")
    assert len({chart.name for chart in page.charts}) == len(page.charts)
    for chart in page.charts:
        assert chart.figure.data, chart.name
        assert chart.height > 100
        assert len(chart.caption) > 60
        for view in chart.views:
            assert set(view.traces) <= set(range(len(chart.figure.data)))
    assert all(reason.endswith(".") for reason in absent(page).values())
    assert not any("cannot be drawn" in reason for reason in absent(page).values())
    reader = Reader(render(page))
    assert page.lead.replace("`", "") in reader.text
    assert [address for address in reader.addresses if address[:5] not in ("data:", "#")] == [
        address for address in reader.addresses if address.startswith("#")
    ]


@pytest.mark.parametrize(
    ("fill", "missing"),
    [
        (whole, set()),
        (easy, {"Importances"}),
        (running, {"No final test yet", "Embeddings", "Worst misclassified clips"}),
        (
            untested,
            {"No final test yet", "Embeddings", "Worst misclassified clips"}
            | {"Openings of the test IDs"},
        ),
        (unlabelled, {"IDs without a result"}),
        (single_trial, {"Parallel coordinates, importances and slices"}),
        (all_failed, {"The best configurations", "Training, embeddings, misclassified clips"}),
        (nothing, {"History", "Time of trials", "The best configurations"}),
    ],
)
def test_what_is_missing_is_said(page_of: Pages, fill: Fill, missing: set[str]) -> None:
    reasons = absent(page_of(fill))
    assert missing <= reasons.keys()
    if fill is whole:
        assert not reasons


def test_a_run_that_inlier_models_were_sampled_in_has_its_page(tmp_path: Path) -> None:
    strategy = {"inlier": "sample", "trials": 8}
    study = runs.begin(to_path(tmp_path / "valve"), make_space(strategy=strategy))
    whole_records = [r for r in runs.records() if r.proposal.rerun_of is None]
    sampled = [
        replace(r, rows=rows, proposal=replace(r.proposal, inlier=InlierSpec("gmm", 1)))
        for k, r in enumerate(whole_records)
        for rows in [r.rows[k % 6 : k % 6 + 1]]
    ]
    runs.add(study, sampled)
    runs.conclude(study)
    page = study_page(read_results(study.path))
    assert {"history", "inliers", "parallel", "importances"} <= {c.name for c in page.charts}


def test_nothing_of_a_file_becomes_part_of_the_page(page_of: Pages) -> None:
    html = render(page_of(whole))
    reader = Reader(html)
    assert runs.HOSTILE in "".join(reader.texts)  # as a text
    assert "<b>" not in html.replace("&lt;b>", "").partition("<script>{")[0].partition("<style>")[0]
    # The data of the charts end where they should, and are what they were.
    match = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html)
    assert match is not None
    charts = json.loads(match[1])
    assert [chart["name"] for chart in charts] == [c.name for c in page_of(whole).charts]
    hovers = json.dumps([chart["figure"] for chart in charts if chart["name"] == "plane"])
    assert "&lt;/script&gt;&lt;b&gt;" in hovers
    assert "</script>" not in hovers


def test_the_same_folder_gives_the_same_page(page_of: Pages) -> None:
    first = render(page_of(whole))
    assert render(page_of.draw(whole)) == first


def test_a_report_is_written_where_the_run_is(folder: UPath) -> None:
    untested(runs.begin(folder))
    path = write_report(folder)
    assert path == folder / "report.html"
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        write_report(to_path(tmp_path))


def test_a_damaged_study_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"machine": "valve"}')
    with pytest.raises(UserError, match=r"study.json: .*\(validation_ids is missing\)"):
        write_report(to_path(tmp_path))


def test_a_page_without_charts_carries_no_library(page_of: Pages) -> None:
    html = render(page_of(nothing))
    assert len(html) < 50_000
    assert "<script" not in html


def test_what_is_typed_stands_apart_and_stays_a_text(page_of: Pages) -> None:
    page = replace(page_of(nothing), lead="say `a <b> c` to <i>")
    assert "say <code>a &lt;b&gt; c</code> to &lt;i&gt;" in render(page)
