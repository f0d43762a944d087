"""Figure 3 of the paper, drawn from hand-made studies."""

import json
import re
from pathlib import Path

import pytest

from raysearch.report.html.figure3 import write_figure_three
from raysearch.storage import to_path
from raysearch.study.systems import SYSTEMS, system_folder
from tests import runs


def make_studies(out: Path, *machines: str) -> None:
    for system in SYSTEMS["figure3"]:
        for machine in machines:
            study = runs.begin(system_folder(to_path(out), system.name, machine, 0))
            runs.explain(study)


def charts(page: str) -> list[dict[str, object]]:
    """Read the figures of a page."""
    match = re.search(r'<script[^>]*id="charts"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert match is not None
    figures: list[dict[str, object]] = json.loads(match[1])
    return figures


def test_a_machine_type_has_six_panels(tmp_path: Path) -> None:
    make_studies(tmp_path, "valve", "fan")
    (path,) = write_figure_three(to_path(tmp_path), ["valve", "fan"], 1)
    figures = charts(path.read_text("utf-8"))
    assert [figure["name"] for figure in figures] == ["valve-0", "fan-0"]
    for figure in figures:
        drawn = json.loads(json.dumps(figure["figure"]))
        titles = [note["text"] for note in drawn["layout"]["annotations"]]
        assert titles == [
            *("(a) DDCSAD", "(b) DDCSAD", "(c) Proposed", "(d) Proposed"),
            *("(e) only product IDs", "(f) only product IDs"),
        ]
        axes = {trace["xaxis"] for trace in drawn["data"]}
        assert axes == {"x", "x2", "x3", "x4", "x5", "x6"}
        names = [trace["name"] for trace in drawn["data"] if trace["showlegend"]]
        assert len(names) == len(set(names))
        assert {"normal", "anomalous", "other machine types", "ID 0"} <= set(names)


def test_clips_that_were_not_collected_are_named(tmp_path: Path) -> None:
    make_studies(tmp_path, "valve")
    clips = system_folder(to_path(tmp_path), "proposed", "valve", 0) / "evidence" / "clips.csv"
    clips.unlink()
    (path,) = write_figure_three(to_path(tmp_path), ["valve"], 1)
    text = path.read_text("utf-8")
    assert "The study of Proposed lacks its clips" in text
    assert 'id="charts"' not in text


@pytest.mark.parametrize("word", ["DDCSAD: the original", "network of its own"])
def test_the_page_says_what_stands_in(tmp_path: Path, word: str) -> None:
    make_studies(tmp_path, "valve")
    (path,) = write_figure_three(to_path(tmp_path), ["valve"], 1)
    assert word in path.read_text("utf-8")
