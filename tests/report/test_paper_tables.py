"""The paper's tables, from hand-made studies with a final test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import harmonic_mean

import numpy as np
import pytest
from upath import UPath

from raysearch.report.paper_tables import (
    count_models,
    table_rows,
    write_table,
    write_table_one,
)
from raysearch.scoring.intervals import score_interval
from raysearch.storage import to_path
from raysearch.study.folder import StudyFolder
from raysearch.study.paper import TABLE_ONE
from raysearch.study.results import read_results
from raysearch.study.scores import clip_scores_by_id
from raysearch.study.systems import SYSTEMS, system_folder, system_space
from tests import runs
from tests.command import table
from tests.records import make_space

MACHINES = ("fan", "valve")
TABLE_THREE = SYSTEMS["table3"]
SEEDS = 2


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> UPath:
    """Studies of all systems of Table III, each with a final test of its own."""
    out = to_path(tmp_path_factory.mktemp("paper"))
    number = 0
    for system in TABLE_THREE:
        for machine in MACHINES:
            for seed in range(SEEDS):
                number += 1
                conclude(out, system.name, machine, seed, number)
    return out


def conclude(out: UPath, name: str, machine: str, seed: int, number: int) -> None:
    """Make a study whose final scores are better for greater numbers."""
    folder = system_folder(out, name, machine, seed)
    study = runs.begin(folder, make_space(strategy={"trials": 8}), machine=machine)
    runs.add(study, runs.records())
    runs.conclude(study, machine)
    rng = np.random.default_rng(number)
    scores = [
        replace(score, score=float(rng.normal(0.1 * number * (score.label or 0))))
        for score in runs.final_scores()
    ]
    runs.take_final_test(study, scores)


def final_scores(out: UPath, name: str) -> Mapping[str, Sequence[float]]:
    """Read the final scores of a system by machine type, from final_test.csv alone."""
    values: dict[str, list[float]] = {}
    for machine in MACHINES:
        for seed in range(SEEDS):
            path = Path(str(system_folder(out, name, machine, seed) / "final_test.csv"))
            rows = [row for row in table(path) if row["id"] != "hmean"]
            areas = [float(row[kind]) for row in rows for kind in ("auc", "pauc")]
            values.setdefault(machine, []).append(harmonic_mean(areas))
    return values


def test_the_csv_has_every_cell_and_its_difference_from_the_paper(out: UPath) -> None:
    write_table(out / "table3", TABLE_THREE, MACHINES, SEEDS)
    rows = table(Path(str(out / "table3.csv")))
    systems = {system.label: system for system in TABLE_THREE}
    assert [(row["system"], row["machine"]) for row in rows] == [
        (label, machine) for label in systems for machine in (*MACHINES, "All")
    ]
    for row in rows:
        system = systems[row["system"]]
        scores = final_scores(out, system.name)
        means = {machine: float(np.mean(scores[machine])) for machine in MACHINES}
        assert system.paper is not None
        known = system.paper.scores
        whole, paper = harmonic_mean(means.values()), harmonic_mean(known[m] for m in MACHINES)
        expected = means.get(row["machine"], whole)
        assert float(row["ours"]) == pytest.approx(expected, abs=1e-9)
        assert float(row["paper"]) == pytest.approx(
            known.get(row["machine"], paper) / 100, abs=1e-9
        )
        assert float(row["difference"]) == float(row["ours"]) - float(row["paper"])
        assert float(row["low"]) < float(row["ours"]) < float(row["high"])
        assert (row["seeds"], row["models"]) == ("2", "1")


def test_intervals_over_seeds_are_those_of_the_clips_of_all_seeds(out: UPath) -> None:
    cell = table_rows(TABLE_THREE, out, MACHINES, SEEDS)[3].cells["valve"]
    folders = [system_folder(out, TABLE_THREE[3].name, "valve", seed) for seed in range(SEEDS)]
    runs = [clip_scores_by_id(read_results(folder).scores, "345") for folder in folders]
    assert (cell.low, cell.high) == pytest.approx(score_interval(runs))
    alone = table_rows(TABLE_THREE, out, MACHINES, 1)[3].cells["valve"]
    assert (alone.low, alone.high) == pytest.approx(score_interval(runs[:1]))


def test_a_score_of_zero_makes_a_mean_of_zero(tmp_path: Path) -> None:
    out = to_path(tmp_path)
    for machine in MACHINES:
        conclude(out, "proposed", machine, 0, 3)
    folder = system_folder(out, "proposed", "fan", 0)
    study = StudyFolder(folder)
    wrong = [replace(score, score=-float(score.label or 0)) for score in runs.final_scores()]
    runs.take_final_test(study, wrong)
    (row,) = table_rows(TABLE_THREE[:1], out, MACHINES, 1)
    whole = row.cells["All"]
    assert (whole.score, whole.low, whole.high) == (0, None, None)


def test_people_read_percent_and_what_stands_in(out: UPath) -> None:
    paths = write_table(out / "table3", TABLE_THREE, MACHINES, SEEDS)
    assert [path.name for path in paths] == ["table3.csv", "table3.md", "table3.tex"]
    text = paths[1].read_text("utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    cells = {row[0]: row[1:] for row in lines if row}
    row = table_rows(TABLE_THREE, out, MACHINES, SEEDS)[0]
    assert cells["**Proposed**"][:3] == [
        f"{100 * (row.cells[column].score or 0):.2f}" for column in (*MACHINES, "All")
    ]
    assert "84.35" in text
    assert "means over 2 seeds" in text
    assert "only product IDs: with Mixup" in text
    assert "\\begin{tabular}" in paths[2].read_text("utf-8")


def test_a_machine_type_that_the_paper_lacks_has_no_difference(tmp_path: Path) -> None:
    out = to_path(tmp_path)
    for system in TABLE_THREE:
        conclude(out, system.name, "press", 0, 3)
    write_table(out / "table3", TABLE_THREE, ["press"], 1)
    for row in table(tmp_path / "table3.csv"):
        assert row["ours"]
        assert (row["paper"], row["difference"]) == ("", "")


def test_a_study_without_a_final_test_leaves_its_cells_empty(tmp_path: Path) -> None:
    out = to_path(tmp_path)
    for system in TABLE_THREE:
        for machine in MACHINES:
            conclude(out, system.name, machine, 0, 3)
    folder = system_folder(out, "proposed", "fan", 0)
    for name in ("final_test.csv", "final_scores.csv"):
        (folder / name).unlink()
    write_table(out / "table3", TABLE_THREE, MACHINES, 1)
    rows = {(row["system"], row["machine"]): row for row in table(tmp_path / "table3.csv")}
    for machine in ("fan", "All"):
        assert rows["Proposed", machine]["ours"] == ""
        assert rows["Proposed", machine]["paper"]
    assert rows["Proposed", "valve"]["ours"]
    assert rows["without Mixup", "All"]["ours"]


def test_table_one_has_the_papers_configuration_below_each_row(out: UPath) -> None:
    paths = write_table_one(out, MACHINES, 1)
    rows = {row["parameter"]: row for row in table(Path(str(paths[0])))}
    assert list(rows)[:2] == ["lr", "lr, paper"]
    assert rows["h, paper"]["fan"] == TABLE_ONE["fan"][3]
    winner = read_results(system_folder(out, "proposed", "valve", 0)).winner
    assert winner is not None
    assert rows["h"]["valve"] == winner.inlier.name
    p = winner.inlier.p
    assert rows["p"]["valve"] == ("-" if p is None else str(p))


@pytest.mark.parametrize(
    ("name", "models"), [("proposed", 1), ("serial", 1), ("ddcsad", 3), ("parallel", 7)]
)
def test_models_are_the_networks_that_score_the_test_ids(
    tmp_path: Path, name: str, models: int
) -> None:
    (system,) = (each for each in SYSTEMS["table2"] if each.name == name)
    space = system_space(make_space(), system, 0)
    study = runs.begin(to_path(tmp_path / name), space)
    runs.add(study, runs.records())
    runs.conclude(study)
    assert count_models(read_results(study.path)) == models
