"""Records that stand as they were written."""

import json
from pathlib import Path

import pytest

from raysearch.errors import UserError
from raysearch.search.study import Proposal, State, StudyFolder, write_text
from tests.records import complete, failed, row

PROPOSAL = Proposal(7, 0.1 + 0.2, 32, 1 / 3, "gmm", 4)


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "valve")
    made.begin({"machine": "valve", "seed": 0})
    return made


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    assert not study.exists()
    with pytest.raises(UserError, match="holds no study"):
        _ = study.facts


def test_a_torn_study_says_so(study: StudyFolder) -> None:
    (study.path / "study.json").write_text('{"machine": "val')
    with pytest.raises(UserError, match="holds no study"):
        _ = study.facts


def test_the_facts_come_back(study: StudyFolder) -> None:
    assert study.exists()
    assert study.facts == {"machine": "valve", "seed": 0}
    assert study.records() == []
    assert study.proposals() == []


@pytest.mark.parametrize(
    "record",
    [
        complete(PROPOSAL, row("gmm", 4, 0.1 + 0.2), row("none", None, None, "collapsed")),
        failed(PROPOSAL),
        complete(Proposal(3, 1e-3, 2, 0.0), state=State.PRUNED, val_loss=None),
    ],
)
def test_a_record_comes_back_as_it_was(study: StudyFolder, record) -> None:
    assert study.add(record)
    assert study.records() == [record]
    assert study.record(record.proposal.number) == record
    (found,) = study.records()
    assert type(found.state) is State
    assert found.proposal.key == record.proposal.key


def test_a_record_is_never_replaced(study: StudyFolder) -> None:
    assert study.add(complete(PROPOSAL, row("gmm", 4, 0.5)))
    path = study.path / "records" / "0007.json"
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert not study.add(complete(PROPOSAL, row("gmm", 4, 0.9)))
    assert not study.add(failed(PROPOSAL))
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == changed
    assert [p.name for p in path.parent.iterdir()] == ["0007.json"]


def test_a_record_is_one_file_of_json(study: StudyFolder) -> None:
    study.add(complete(PROPOSAL, row("gmm", 4, 0.5)))
    content = json.loads((study.path / "records" / "0007.json").read_text())
    assert content["state"] == "COMPLETE"
    assert content["proposal"]["lr"] == 0.1 + 0.2
    assert content["rows"][0]["auc"] == {"0": 0.5, "1": 0.5, "2": 0.5}


def test_records_and_proposals_are_sorted_by_number(study: StudyFolder) -> None:
    for number in (11, 2, 9, 123):
        proposal = Proposal(number, 1e-3, 32, 1.0)
        study.propose(proposal)
        study.add(failed(proposal))
    assert [p.number for p in study.proposals()] == [2, 9, 11, 123]
    assert [r.proposal.number for r in study.records()] == [2, 9, 11, 123]
    assert study.record(5) is None


def test_a_proposal_comes_back_as_it_was(study: StudyFolder) -> None:
    study.propose(PROPOSAL)
    assert study.proposals() == [PROPOSAL]


def test_unfinished_files_are_no_records(study: StudyFolder) -> None:
    (study.path / "records" / ".0001.json.4711").write_text("{")
    (study.path / "proposals" / ".0001.json.4711").write_text("{")
    assert study.records() == []
    assert study.proposals() == []


def test_the_best_row_is_the_first_of_the_highest() -> None:
    rows = [row("gmm", 1, 0.6), row("gmm", 2, None, "x"), row("lof", 4, 0.8), row("lof", 8, 0.8)]
    best = complete(PROPOSAL, *rows).best
    assert best is not None
    assert (best.inlier, best.p) == ("lof", 4)
    assert complete(PROPOSAL, row("gmm", 2, None, "x")).best is None
    assert complete(PROPOSAL, row("gmm", 2, 0.0)).best == row("gmm", 2, 0.0)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
