"""Section of the search: markers of trials, cells of inlier models, failures."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

from raysearch.report.html.parts import Chart, Part, Table
from raysearch.report.html.search import search_section
from raysearch.storage import to_path
from raysearch.study.records import Proposal, State
from raysearch.study.results import read_results
from raysearch.training.configuration import Configuration
from tests import runs
from tests.records import complete, row


def parts(tmp_path: Path) -> dict[str, Part]:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records())
    return {part.title: part for part in search_section(read_results(study.path)).parts}


def test_every_trial_of_the_search_has_its_mark(tmp_path: Path) -> None:
    chart = parts(tmp_path)["History"]
    assert isinstance(chart, Chart)
    marks = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in chart.figure.data}
    assert sorted(marks["finished"]) == [0, 1, 2, 4, 6, 7]
    assert marks["pruned"] == {3: 0.52}  # its score at the rung
    assert list(marks["failed"]) == [5]
    assert marks["failed"][5] < min(marks["finished"].values())
    best = list(marks["best so far"].values())
    assert best == sorted(best)
    assert best[-1] == max(marks["finished"].values())
    assert "6 finished, 1 pruned" in chart.caption


def test_the_heat_map_has_the_best_and_the_mean_of_every_cell(tmp_path: Path) -> None:
    chart = parts(tmp_path)["Inlier models"]
    assert isinstance(chart, Chart)
    best, mean = chart.figure.data
    assert list(best.x) == ["1", "2", "4", "8", "no p"]
    assert list(best.y) == ["gmm", "lof", "none"]
    scores = [
        row.val_score
        for record in runs.records()
        if record.state is State.COMPLETE and record.proposal.rerun_of is None
        for row in record.rows
        if (row.inlier, row.p) == ("gmm", 4) and row.val_score is not None
    ]
    assert len(scores) == 6
    assert best.z[0][2] == max(scores)
    assert mean.z[0][2] == fmean(scores)
    assert best.z[2][0] is None
    assert [view.traces for view in chart.views] == [(0,), (1,)]


def test_failed_trials_stand_with_their_reasons(tmp_path: Path) -> None:
    table = parts(tmp_path)["Failed trials"]
    assert isinstance(table, Table)
    assert [list(row)[0::3] for row in table.rows] == [["5", runs.HOSTILE]]


def test_of_many_failures_some_are_shown(tmp_path: Path) -> None:
    [failure] = [record for record in runs.records() if record.state is State.FAIL]
    study = runs.begin(to_path(tmp_path / "valve"))
    many = [replace(failure, proposal=replace(failure.proposal, number=k)) for k in range(25)]
    runs.add(study, many)
    table = search_section(read_results(study.path)).parts[-1]
    assert isinstance(table, Table)
    assert len(table.rows) == 20
    assert table.caption == "5 more are in trials.csv."


def test_a_trial_none_of_whose_inlier_models_could_be_fitted_has_failed(tmp_path: Path) -> None:
    rows = (
        row("gmm", 1, None, "too few"),
        row("gmm", 2, None, "too few"),
        row("lof", 4, None, "so"),
    )
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, [complete(Proposal(0, Configuration(1e-3, 32, 1.0)), *rows)])
    history, table = search_section(read_results(study.path)).parts
    assert isinstance(history, Chart)
    assert [trace.name for trace in history.figure.data] == ["failed"]
    assert isinstance(table, Table)
    assert table.rows[0][3] == "too few; so"
