"""Data, command, environment and ledger, as the files of a run have them."""

from dataclasses import replace
from pathlib import Path

from raysearch.report.html.facts import facts_section
from raysearch.report.html.parts import Absent, Facts, Part, Table
from raysearch.report.wording import format_time
from raysearch.storage import to_path
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import note_opening
from raysearch.study.results import Results, read_results
from raysearch.study.winner import read_frozen
from tests import runs


def outcome(tmp_path: Path) -> StudyFolder:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records(1))
    runs.conclude(study)
    runs.take_final_test(study, runs.final_scores("3"))
    return study


def parts(results: Results) -> dict[str, Part]:
    return {part.title: part for part in facts_section(results).parts}


def test_the_data_are_counted_by_what_they_were_used_for(tmp_path: Path) -> None:
    table = parts(read_results(outcome(tmp_path).path))["Data"]
    assert isinstance(table, Table)
    rows = [list(row) for row in table.rows]
    assert rows[0] == ["ID 0", "validation", "40", "20", "20"]
    assert rows[3] == ["ID 3", "test", "40", "20", "20"]  # as the final test heard them
    assert rows[4] == ["ID 4", "test", "40", "–", "–"]
    assert rows[6:] == [["fan", "outliers", "240", "–", "–"], ["pump", "outliers", "240", "–", "–"]]
    assert "1 defective file left out" in table.caption


def test_command_and_versions_stand_as_they_were(tmp_path: Path) -> None:
    by_title = parts(read_results(outcome(tmp_path).path))
    command, environment = by_title["Command"], by_title["Environment"]
    assert isinstance(command, Facts)
    assert isinstance(environment, Facts)
    assert dict(command.rows)["Command"] == "raysearch run --machine valve"
    assert dict(command.rows)["Begun"] == "2026-11-25 10:00:00 UTC"
    assert dict(environment.rows)["torch"] == "2.14.1"


def test_every_opening_of_the_test_ids_has_its_line(tmp_path: Path) -> None:
    study = outcome(tmp_path)
    runs.take_final_test(study, runs.final_scores("3"))
    frozen = read_frozen(study.path)
    assert frozen is not None
    started = study.manifest.started
    facts = {"command": "raysearch final", "test_ids": ["3"], "clips": 40}
    note_opening(study.path, started, 2, facts, replace(frozen, trial=99))
    ledger = parts(results := read_results(study.path))["Openings of the test IDs"]
    assert isinstance(ledger, Table)
    first, second = map(list, ledger.rows)
    assert (first[0], first[2:4]) == ("1", ["3", "40"])
    assert first[5:] == [f"{results.final_score:.4f}", "raysearch run"]
    assert "trial 99, lr " in str(second[4])
    assert second[5:] == ["–", "raysearch final"]


def test_a_run_of_before_clips_were_counted_says_how_to_count_them(tmp_path: Path) -> None:
    study = outcome(tmp_path)
    study.create(study.manifest.model_copy(update={"clips": None}))
    missing = parts(read_results(study.path))["Data"]
    assert isinstance(missing, Absent)
    assert "The recordings lie in /data." in missing.reason


def test_times_are_for_people() -> None:
    assert format_time("2026-11-25T10:00:00+00:00") == "2026-11-25 10:00:00 UTC"
