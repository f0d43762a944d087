"""Cost of a search, from hand-made records."""

from dataclasses import replace
from pathlib import Path

from raysearch.report.html.cost import cost_section
from raysearch.report.html.parts import Chart, Facts, Part, Table
from raysearch.storage import to_path
from raysearch.study.records import Proposal, Record, State
from raysearch.study.results import read_results
from raysearch.training.configuration import Configuration
from tests import runs
from tests.records import complete, row

FIRST = complete(
    Proposal(0, Configuration(1e-3, 32, 1.0)),
    row("gmm", 1, 0.7),
    train_seconds=3000.0,
    score_seconds=600.0,
)
RECORDS = [
    replace(FIRST, devices=2.0, host="a"),
    replace(
        FIRST,
        proposal=Proposal(1, Configuration(2e-3, 32, 1.0)),
        state=State.PRUNED,
        rows=(),
        host="b",
    ),
    replace(
        FIRST, proposal=Proposal(2, Configuration(1e-3, 32, 1.0), seed=1, rerun_of=0), host="b"
    ),
]


def parts(tmp_path: Path, records: list[Record]) -> dict[str, Part]:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, records)
    return {part.title: part for part in cost_section(read_results(study.path)).parts}


def test_devices_count_as_often_as_a_trial_held_them(tmp_path: Path) -> None:
    part = parts(tmp_path, RECORDS)["In all"]
    assert isinstance(part, Facts)
    facts = dict(part.rows)
    assert facts["Devices"] == "4 device hours in all"
    assert facts["Training encoders"] == "2 h 30 min"
    assert facts["Fitting and scoring inlier models"] == "30 min 00 s"
    assert facts["Pruned and failed trials"] == "25% of the device time"
    assert facts["Finalists' further seeds"] == "25% of the device time"
    assert facts["Resumed"] == "3 times"


def test_machines_have_the_trials_that_ended_there(tmp_path: Path) -> None:
    table = parts(tmp_path, RECORDS)["Machines"]
    assert isinstance(table, Table)
    assert [list(line) for line in table.rows] == [
        ["a", "1", "0", "1 h 00 min", "2"],
        ["b", "2", "0", "2 h 00 min", "2"],
    ]


def test_every_trial_has_its_bar(tmp_path: Path) -> None:
    chart = parts(tmp_path, RECORDS)["Time of trials"]
    assert isinstance(chart, Chart)
    training, scoring = chart.figure.data
    assert (list(training.x), list(training.y)) == ([0, 1, 2], [3000.0] * 3)
    assert list(scoring.y) == [600.0] * 3


def test_of_very_many_trials_the_longest_have_bars(tmp_path: Path) -> None:
    many = [
        replace(
            FIRST,
            proposal=Proposal(k, Configuration(1e-3 + 1e-6 * k, 32, 1.0)),
            train_seconds=float(k),
        )
        for k in range(210)
    ]
    chart = parts(tmp_path, many)["Time of trials"]
    assert isinstance(chart, Chart)
    assert list(chart.figure.data[0].x) == list(range(10, 210))
    assert chart.caption.startswith("The 200 longest of 210 trials")
