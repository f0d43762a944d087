"""Machine types of a shared search: areas, training curves and single clips of each."""

from pathlib import Path

import pytest

from raysearch.report.clips.shown import Part as DataPart
from raysearch.report.clips.shown import machine_home, read_validation, write_clips
from raysearch.report.html.facts import facts_section
from raysearch.report.html.machines import machines_section
from raysearch.report.html.page import render, study_page
from raysearch.report.html.parts import Absent, Chart, Part, Sounds, Table
from raysearch.storage import make_folder, to_path
from raysearch.study.results import Results, read_results
from tests import runs
from tests.records import make_space

MACHINES = ("fan", "valve")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    shared = {"validation_machines": MACHINES, "test_machines": ("pump",)}
    space = make_space(strategy={"trials": 8}).model_copy(update=shared)
    study = runs.begin(to_path(tmp_path / "shared"), space)
    runs.add(study, runs.records())
    runs.conclude(study)
    return read_results(study.path)


def parts(results: Results) -> dict[str, Part]:
    return {part.title: part for part in machines_section(results).parts}


def test_what_is_missing_says_so_in_its_place(results: Results) -> None:
    shown = parts(results)
    assert isinstance(shown["Validation machines"], Table)
    assert isinstance(shown["Training"], Chart)
    for machine in MACHINES:
        for title in ("Embeddings", "Worst misclassified clips"):
            part = shown[f"{title} of {machine}"]
            assert isinstance(part, Absent)
            assert "The same `raysearch run` command collects them" in part.reason


def test_each_validation_machine_has_its_single_clips(results: Results) -> None:
    make_folder(machine_home(results.folder, "fan"))
    write_clips(machine_home(results.folder, "fan"), runs.shown_clips())
    shown = parts(results)
    plane = shown["Embeddings of fan"]
    assert isinstance(plane, Chart)
    assert plane.name == "plane-fan"
    assert not isinstance(shown["Worst misclassified clips of fan"], Sounds)
    assert isinstance(shown["Embeddings of valve"], Absent)
    assert "Embeddings of fan" in render(study_page(results))


def test_validation_clips_of_all_machine_types_have_names_of_their_own(results: Results) -> None:
    clips = [c for c in runs.shown_clips() if c.part is DataPart.VALIDATION and c.score is not None]
    for machine in MACHINES:
        make_folder(machine_home(results.folder, machine))
        write_clips(machine_home(results.folder, machine), runs.shown_clips())
    shown = read_validation(results.folder, MACHINES)
    assert [clip.id for clip in shown] == [f"{m}/{clip.id}" for m in MACHINES for clip in clips]
    assert read_validation(results.folder, ()) == []


def test_the_test_machines_stand_among_the_data(results: Results) -> None:
    [table] = [part for part in facts_section(results).parts if part.title == "Data"]
    assert isinstance(table, Table)
    tested = [list(row) for row in table.rows if row[1] == "test"]
    assert [row for row in tested if str(row[0]).startswith("ID pump/")] == [
        [f"ID {key}", "test", "–", "–", "–"] for key in results.space.test_keys
    ]
    assert "those of the other validation machines are the outliers" in table.caption
