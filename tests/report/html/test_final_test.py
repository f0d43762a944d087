"""The final test's table, curves and histograms, from hand-worked scores."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysearch.report.html import verdict
from raysearch.report.html.final_test import final_section
from raysearch.report.html.parts import Absent, Chart, Part, Table
from raysearch.storage import to_path
from raysearch.study.results import Results, read_results
from raysearch.study.scores import FinalScore
from tests import runs
from tests.records import make_space

# Of two normal clips one is accused, of two anomalies one is missed.
ROWS = ((0, 0.1), (0, 0.6), (1, 0.5), (1, 0.9))
SCORES = [
    FinalScore(i, f"{k}.wav", "source", label, score, 0.55, int(score > 0.55))
    for i in ("3", "10")
    for k, (label, score) in enumerate(ROWS)
]


def outcome(tmp_path: Path, scores: list[FinalScore]) -> Results:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records(1))
    runs.conclude(study)
    runs.take_final_test(study, scores)
    return read_results(study.path)


def parts(results: Results) -> dict[str, Part]:
    return {part.title: part for part in final_section(results).parts}


def test_the_table_has_every_id_in_order_and_the_means(tmp_path: Path) -> None:
    table = parts(outcome(tmp_path, SCORES))["Every test ID"]
    assert isinstance(table, Table)
    row = ["0.7500", "0.7368", "4", "1 of 2 (50%)", "1 of 2 (50%)"]
    assert [list(line) for line in table.rows] == [
        ["3", *row],
        ["10", *row],
        ["harmonic mean", "0.7500", "0.7368", "", "", ""],
    ]


def test_decisions_are_judged_at_the_threshold(tmp_path: Path) -> None:
    by_title = parts(outcome(tmp_path, SCORES))
    assert "Official scores" not in by_title
    table = by_title["At the threshold"]
    assert isinstance(table, Table)
    assert list(table.header) == ["ID", "precision", "recall", "F1"]
    # Two clips are called anomalous, one of them is; one of the two anomalies is missed.
    half = ["0.5000", "0.5000", "0.5000"]
    expected = [["3", *half], ["10", *half], ["harmonic mean", *half]]
    assert [list(line) for line in table.rows] == expected


def test_both_domains_have_rows_at_the_threshold_and_official_scores(tmp_path: Path) -> None:
    target = [replace(score, domain="target", score=1.0 + score.score) for score in SCORES[:4]]
    alarmed = [replace(score, decision=1) for score in target]
    by_title = parts(outcome(tmp_path, [*SCORES, *alarmed]))
    table = by_title["At the threshold"]
    assert isinstance(table, Table)
    assert [list(line) for line in table.rows[:-1]] == [
        ["3", "source", "0.5000", "0.5000", "0.5000"],
        ["3", "target", "0.5000", "1.0000", "0.6667"],
        ["10", "source", "0.5000", "0.5000", "0.5000"],
    ]
    official = by_title["Official scores"]
    assert isinstance(official, Table)
    first, second, mean = official.rows
    area = ["0.7500", "0.7368"]
    # Three quarters of the pairs are right in each domain by itself; of the normal target clips
    # and the anomalies of the source none is.
    assert list(first[:7]) == ["3", *area, *area, "0.8750", "0.3750"]
    assert list(second) == ["10", *area, *["–"] * 7]
    assert len(mean) == len(second)
    assert "score of 2021 over 1 of 2 test IDs; " in official.caption
    assert "ID 10: no target clips" in official.caption


def test_a_score_over_fewer_ids_says_so_in_the_table_and_above_it(tmp_path: Path) -> None:
    unlabelled = [replace(score, label=None) if score.id == "10" else score for score in SCORES]
    results = outcome(tmp_path, unlabelled)
    table = parts(results)["Every test ID"]
    assert isinstance(table, Table)
    assert list(table.rows[1]) == ["10", "–", "–", "4", "", "", "no labels"]
    assert table.rows[2][-1] == "over 1 of 2 test IDs"
    note = "over 1 of 2 test IDs; ID 10: no labels"
    assert note in final_section(results).lead
    assert f"({note})" in verdict.lead(results)


def test_curves_go_from_corner_to_corner_through_the_threshold(tmp_path: Path) -> None:
    chart = parts(outcome(tmp_path, SCORES))["ROC curves"]
    assert isinstance(chart, Chart)
    _, curve, ring, *_ = chart.figure.data
    assert list(zip(curve.x, curve.y, strict=True)) == [
        (0, 0),
        (0, 0.5),
        (0.5, 0.5),
        (0.5, 1),
        (1, 1),
    ]
    assert (list(ring.x), list(ring.y)) == ([0.5], [0.5])
    [strip] = chart.figure.layout.shapes
    assert (strip.x0, strip.x1) == (0, 0.1)


def test_histograms_hold_every_clip_and_the_threshold(tmp_path: Path) -> None:
    far = replace(SCORES[0], score=-1e9, decision=0)
    chart = parts(outcome(tmp_path, [far, *SCORES]))["Scores of ID 3"]
    assert isinstance(chart, Chart)
    normal, anomalous = chart.figure.data
    assert (sum(normal.y), sum(anomalous.y)) == (3, 2)
    assert chart.figure.layout.shapes[0].x0 == 0.55
    assert "1 of 2 (50%) anomalies are found at 1 of 3 (33%) false alarms" in chart.caption


def test_ids_without_labels_are_named(tmp_path: Path) -> None:
    results = outcome(tmp_path, SCORES[:4])
    unlabelled = replace(results, scores=(*results.scores, replace(SCORES[4], label=None)))
    missing = parts(unlabelled)["IDs without a result"]
    assert isinstance(missing, Absent)
    assert "labels of both kinds: 10." in missing.reason


def test_a_run_of_before_scores_were_kept_says_how_to_get_them(tmp_path: Path) -> None:
    results = replace(outcome(tmp_path, SCORES), scores=())
    by_title = parts(results)
    assert "Every test ID" in by_title
    missing = by_title["ROC curves and histograms"]
    assert isinstance(missing, Absent)
    assert f"`raysearch final {results.folder}`" in missing.reason


@pytest.mark.parametrize(
    ("frozen", "way"), [(True, "raysearch final"), (False, "after the run has ended")]
)
def test_without_a_test_the_way_to_one_is_said(tmp_path: Path, frozen: bool, way: str) -> None:
    study = runs.begin(to_path(tmp_path / "valve"), make_space())
    runs.add(study, runs.records(1))
    if frozen:
        runs.conclude(study)
    [missing] = final_section(read_results(study.path)).parts
    assert isinstance(missing, Absent)
    assert way in missing.reason
