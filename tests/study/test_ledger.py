"""The ledger: which configuration met the test IDs, how often, and with which result."""

import json
from dataclasses import replace

import pytest
from upath import UPath

from raysearch.scoring.spec import InlierSpec
from raysearch.storage import write_text
from raysearch.study.ledger import (
    Ledger,
    append_line,
    note_opening,
    note_result,
    numbered,
    read_ledger,
)
from raysearch.study.results import final_note
from raysearch.study.scores import FinalTest, IdResult
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration

STUDY, BEFORE = "2026-11-25T10:00:00+00:00", "2026-11-24T10:00:00+00:00"
FIRST = Winner(
    "valve", 0, "encoder0", Configuration(1e-3, 32, 10.0), InlierSpec("gmm", 2), 0.7, 0, "data"
)
SECOND = replace(FIRST, trial=3, encoder="encoder3")
FACTS = {"command": "raysearch run", "test_ids": ["3", "4"], "clips": 24}
RESULT = FinalTest((IdResult("3", 0.8, 0.8), IdResult("4", 0.8, 0.8)))
UNLABELLED = FinalTest((IdResult("3", note="no labels"), IdResult("4", note="no labels")))


def test_nothing_was_opened_without_a_ledger(folder: UPath) -> None:
    ledger = read_ledger(folder, STUDY)
    assert ledger == Ledger()
    assert ledger.next_number(FIRST) == 1
    assert not ledger.is_further(FIRST)


def test_a_configuration_is_tested_once(folder: UPath) -> None:
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    note_result(folder, STUDY, 1, RESULT)
    ledger = read_ledger(folder, STUDY)
    (opening,) = ledger.openings
    assert (opening.number, opening.clips, opening.test_ids) == (1, 24, ("3", "4"))
    assert opening.score == pytest.approx(0.8)
    assert ledger.result_of(FIRST) == opening
    assert ledger.result_of(replace(FIRST, val_score=0.6, seeds=3)) == opening
    assert ledger.result_of(SECOND) is None


def test_another_configuration_is_a_further_opening(folder: UPath) -> None:
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    note_result(folder, STUDY, 1, RESULT)
    ledger = read_ledger(folder, STUDY)
    assert ledger.next_number(SECOND) == 2
    assert ledger.is_further(SECOND)
    note_opening(folder, STUDY, 2, FACTS, SECOND)
    note_result(folder, STUDY, 2, RESULT)
    both = read_ledger(folder, STUDY)
    assert [opening.winner.trial for opening in both.openings] == [0, 3]
    for winner in (FIRST, SECOND):
        assert both.result_of(winner) is not None
        assert both.next_number(winner) == 3
        assert both.is_further(winner)


def test_another_configuration_is_further_also_if_the_first_test_was_interrupted(
    folder: UPath,
) -> None:
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    ledger = read_ledger(folder, STUDY)
    assert ledger.result_of(FIRST) is None
    assert not ledger.is_further(FIRST)
    assert ledger.next_number(FIRST) == 1
    assert ledger.is_further(SECOND)


def test_a_test_without_labels_is_no_reason_to_test_again_but_may_be_completed(
    folder: UPath,
) -> None:
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    note_result(folder, STUDY, 1, UNLABELLED)
    ledger = read_ledger(folder, STUDY)
    assert ledger.result_of(FIRST) is not None
    assert ledger.next_number(FIRST) == 1
    assert not ledger.is_further(FIRST)
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    note_result(folder, STUDY, 1, RESULT)
    (opening,) = read_ledger(folder, STUDY).openings
    assert opening.score == pytest.approx(0.8)


def test_openings_of_a_deleted_study_are_counted(folder: UPath) -> None:
    note_opening(folder, BEFORE, 1, FACTS, FIRST)
    note_result(folder, BEFORE, 1, RESULT)
    ledger = read_ledger(folder, STUDY)
    assert ledger == Ledger((), earlier=1)
    assert not ledger.is_further(FIRST)
    assert final_note(RESULT, ledger, FIRST) == "the test IDs were opened once before this study"


def test_a_ledger_of_an_earlier_version_is_read(folder: UPath) -> None:
    """Its lines have no number and no result, and the last one's files replaced the others."""
    for time, winner in ((BEFORE, FIRST), (STUDY, FIRST), (STUDY, SECOND)):
        append_line(
            folder / "test_ledger.jsonl",
            json.dumps({"time": time, **FACTS, "frozen": winner.to_json()}),
        )
    write_text(
        folder / "final_test.csv", "machine,id,auc,pauc\nvalve,3,0.5,0.5\nvalve,hmean,0.5,0.5\n"
    )
    ledger = read_ledger(folder, STUDY)
    (opening,) = ledger.openings
    assert (opening.number, opening.winner, opening.score) == (1, SECOND, 0.5)
    assert ledger.earlier == 1
    assert ledger.result_of(SECOND) == opening
    assert ledger.is_further(FIRST)


def test_files_of_the_first_opening_have_no_number() -> None:
    assert numbered("final_test.csv", 1) == "final_test.csv"
    assert numbered("final_test.csv", 2) == "final_test_2.csv"
    assert numbered("submission", 3) == "submission_3"


def test_the_note_of_a_figure_says_what_it_is_of(folder: UPath) -> None:
    note_opening(folder, STUDY, 1, FACTS, FIRST)
    note_result(folder, STUDY, 1, RESULT)
    ledger = read_ledger(folder, STUDY)
    assert final_note(RESULT, ledger, FIRST) == ""
    assert final_note(RESULT, ledger, SECOND) == "of an earlier winner, trial 0"
    note_opening(folder, STUDY, 2, FACTS, SECOND)
    note_result(folder, STUDY, 2, RESULT)
    noted = final_note(RESULT, read_ledger(folder, STUDY), SECOND)
    assert noted == "of an earlier winner, trial 0; the first of 2 openings"


def test_lines_are_appended(folder: UPath) -> None:
    for line in ("one", "zwei λ", "three"):
        append_line(folder / "ledger", line)
    assert (folder / "ledger").read_bytes().decode() == "one\nzwei λ\nthree\n"
