"""Head of the page: lead, key figures and caveats."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysearch.report.html.parts import Chart, Table
from raysearch.report.html.verdict import (
    advantage,
    lead,
    lead_section,
    notes,
    tiles,
    title,
)
from raysearch.storage import to_path
from raysearch.study.confidence import Confidence, write_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal
from raysearch.study.results import Results, read_results
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from tests import runs
from tests.records import complete, make_space, row


def results(tmp_path: Path, *, concluded: bool = True) -> Results:
    study = runs.begin(to_path(tmp_path / "valve"))
    first, second = (
        Proposal(0, Configuration(1e-3, 32, 1.0)),
        Proposal(1, Configuration(2e-3, 64, 10.0)),
    )
    runs.add(
        study,
        [
            complete(first, row("gmm", 1, 0.70), row("none", None, 0.60)),
            complete(second, row("gmm", 1, 0.68), row("lof", 4, 0.66)),
            complete(replace(first, number=2, seed=1, rerun_of=0), row("gmm", 1, 0.74)),
            complete(replace(second, number=3, seed=1, rerun_of=1), row("gmm", 1, 0.70)),
        ],
    )
    if concluded:
        runs.conclude(study)
    return read_results(study.path)


def test_the_answer_names_configuration_score_lead_and_doubt(tmp_path: Path) -> None:
    study_results = results(tmp_path)
    assert title(study_results) == "valve: lr 0.001, batch size 32, λ 1, gmm p=1"
    assert lead(study_results) == (
        "Validation score 0.7200 ± 0.0283 over 2 seeds (95 % interval 0.600 to 0.750 over clips). "
        "It is 0.0300 ahead of the second, lr 0.002, batch size 64, λ 10, gmm p=1 (95 % interval "
        "−0.010 to 0.030)."
    )
    assert study_results.ranking is not None
    assert advantage(study_results.ranking) == pytest.approx(0.72 - 0.69)
    assert notes(study_results) == ["Within noise of the second"]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("flow", "valve: flow, lr 0.001, batch size 32, none"),
        ("proposed", "valve: lr 0.001, batch size 32, none"),
    ],
)
def test_the_title_names_another_method_than_the_proposed(
    tmp_path: Path, method: str, expected: str
) -> None:
    content = make_space(inlier={"none": []}).model_dump(mode="json", by_alias=True)
    search = {k: v for k, v in content["search"].items() if k != "lambda" or method == "proposed"}
    space = Space.model_validate(content | {"search": search, "fixed": {"method": method}})
    study = runs.begin(to_path(tmp_path / "valve"), space)
    proposal = Proposal(0, Configuration(1e-3, 32, None))
    runs.add(study, [complete(proposal, row("none", None, 0.7))])
    runs.conclude(study)
    assert title(read_results(study.path)) == expected


def test_the_numbers_that_are_read_first(tmp_path: Path) -> None:
    figures = {tile.label: (tile.value, tile.note) for tile in tiles(results(tmp_path))}
    assert figures == {
        "Validation score": ("0.7200", "95 % interval 0.600 to 0.750"),
        "Ahead of the second": ("+0.0300", "within noise"),
        "Trials": ("4", "4 finished"),
    }


def test_a_final_test_is_part_of_the_answer(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records(2))
    runs.conclude(study)
    runs.take_final_test(study, runs.final_scores())
    study_results = read_results(study.path)
    score = f"{study_results.final_score:.4f}"
    assert f"On test IDs 3, 4 and 5, which the search never saw, it reaches {score}." in lead(
        study_results
    )
    assert ("Final test", score, "test IDs opened once") in [
        (tile.label, tile.value, tile.note) for tile in tiles(study_results)
    ]


def test_a_lead_beyond_noise_is_said(tmp_path: Path) -> None:
    study_results = results(tmp_path)
    write_confidence(Confidence((), (), 0.6, 0.75, 0.01, 0.03), study_results.folder)
    study_results = read_results(study_results.folder)
    assert [tile.note for tile in tiles(study_results)][1] == "beyond noise"
    assert notes(study_results) == []


def test_one_seed_makes_no_claim(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records(4)[:3])
    runs.conclude(study)
    write_confidence(Confidence(low=0.6, high=0.75, choices=18, unselected=0.58), study.path)
    notes = {tile.label: (tile.value, tile.note) for tile in tiles(read_results(study.path))}
    assert notes["Ahead of the second"][1] == "one seed: no claim"
    assert notes["Without selection"] == ("0.5800", "the winner is the best of 18 configurations")


def test_while_the_search_runs_all_is_provisional(tmp_path: Path) -> None:
    study_results = results(tmp_path, concluded=False)
    assert lead(study_results).startswith("Best so far: validation score 0.7200")
    assert "2 of 8 trials ended. All figures are provisional" in notes(study_results)[0]


def test_a_winner_that_was_overtaken_is_said(tmp_path: Path) -> None:
    study_results = results(tmp_path)
    better = Proposal(4, Configuration(3e-3, 64, 1.0))
    seeds = [
        complete(better, row("gmm", 1, 0.9)),
        complete(replace(better, number=5, seed=1, rerun_of=4), row("gmm", 1, 0.9)),
    ]
    study = StudyFolder(study_results.folder)
    runs.add(study, seeds)
    study_results = read_results(study_results.folder)
    assert not study_results.is_current
    assert title(study_results) == "valve: lr 0.001, batch size 32, λ 1, gmm p=1"
    assert "another one leads now" in notes(study_results)[0]
    assert "ahead of the second" not in lead(study_results)


def test_leaders_are_encoders_with_their_best_inlier_model(tmp_path: Path) -> None:
    chart, table = lead_section(results(tmp_path)).parts
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert [row[1:] for row in table.rows] == [
        ["0", "0.001", "32", "1", "gmm", "1", "0.7200", "0.0283", "2"],
        ["1", "0.002", "64", "10", "gmm", "1", "0.6900", "0.0141", "2"],
    ]
    interval, seeds, means = chart.figure.data
    assert tuple(interval.x) == (0.6, 0.75)
    assert tuple(seeds.x) == (0.70, 0.74, 0.68, 0.70)
    assert tuple(means.x) == pytest.approx((0.72, 0.69))
