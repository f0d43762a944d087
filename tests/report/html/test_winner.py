"""The winner in detail: losses, embeddings and worst misclassified clips."""

from base64 import b64decode
from pathlib import Path

import pytest

from raysearch.report.clips.misclassified import read_misclassified
from raysearch.report.clips.shown import read_clips
from raysearch.report.html.parts import Chart, Part, Sounds
from raysearch.report.html.winner import winner_section
from raysearch.storage import to_path
from raysearch.study.results import Results, read_results
from tests import runs


@pytest.fixture
def results(tmp_path: Path) -> Results:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records())
    runs.conclude(study)
    runs.explain(study)
    return read_results(study.path)


def parts(results: Results) -> dict[str, Part]:
    return {part.title: part for part in winner_section(results).parts}


def test_losses_are_the_winners_own_epoch_by_epoch(results: Results) -> None:
    chart = parts(results)["Training"]
    assert isinstance(chart, Chart)
    assert results.winner is not None
    record = results.record(results.winner.trial)
    assert record is not None
    drawn = [(trace.name, list(trace.y)) for trace in chart.figure.data]
    assert drawn[0] == ("training", [epoch.train_loss for epoch in record.history])
    assert drawn[1] == ("validation", [epoch.val_loss for epoch in record.history])
    assert drawn[5] == ("validation", [epoch.val_product_loss for epoch in record.history])
    assert [view.label for view in chart.views] == ["total", "machine type", "product ID"]
    assert chart.figure.layout.shapes[0].x0 == record.best_epoch


def test_every_way_to_colour_the_plane_shows_every_clip(results: Results) -> None:
    chart = parts(results)["Embeddings"]
    assert isinstance(chart, Chart)
    for view in chart.views:
        shown = [chart.figure.data[k] for k in view.traces]
        assert sum(len(trace.x) for trace in shown) == len(read_clips(results.folder))
    first = set(chart.views[0].traces)
    assert [trace.visible for trace in chart.figure.data] == [
        k in first for k in range(len(chart.figure.data))
    ]


def test_a_cloud_holds_the_clips_of_its_name(results: Results) -> None:
    chart = parts(results)["Embeddings"]
    assert isinstance(chart, Chart)
    clouds = {trace.name: trace for trace in chart.figure.data}
    clips = read_clips(results.folder)
    anomalous = [clip for clip in clips if clip.label]
    assert list(clouds["anomalous"].x) == [clip.x for clip in anomalous]
    assert list(clouds["fan"].y) == [clip.y for clip in clips if clip.machine == "fan"]


def test_the_worst_wrong_are_heard_and_seen_as_they_were_kept(results: Results) -> None:
    shown = parts(results)["Worst misclassified clips"]
    assert isinstance(shown, Sounds)
    missed, accused = shown.sounds
    (_, sound, picture), _ = read_misclassified(results.folder)
    assert missed.sound.startswith("data:audio/flac;base64,")
    assert b64decode(missed.sound.partition(",")[2]) == sound
    assert b64decode(missed.picture.partition(",")[2]) == picture
    assert (missed.title, accused.title) == ("Missed, ID 0", "False alarm, ID 0")
    assert "is anomalous, but 19 of 20 normal clips score higher" in missed.verdict
    assert "is normal, but 19 of 20 anomalous clips score lower" in accused.verdict
    assert "50 to 7800 Hz" in missed.alt
