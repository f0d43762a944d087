"""The files of a study."""

import json
from pathlib import Path

import pytest
from upath import UPath

from raysearch import storage
from raysearch.errors import MachineError, UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration, TrialConfig
from tests.files import put
from tests.records import complete, failed, make_manifest, row
from tests.s3 import BUCKET, S3
from tests.tiny import TINY

PROPOSAL = Proposal(7, Configuration(0.1 + 0.2, 32, 1 / 3), InlierSpec("gmm", 4))


@pytest.fixture
def study(folder: UPath) -> StudyFolder:
    study = StudyFolder(folder)
    study.create(make_manifest())
    return study


def test_a_folder_without_a_study_is_refused(folder: UPath) -> None:
    study = StudyFolder(folder)
    assert not study.exists()
    with pytest.raises(UserError, match="holds no study"):
        _ = study.manifest


def test_a_truncated_manifest_is_refused(study: StudyFolder) -> None:
    (study.path / "study.json").write_text('{"machine": "val')
    with pytest.raises(UserError, match=r"study.json: damaged, or of another version \(no JSON"):
        _ = study.manifest


def test_the_manifest_comes_back(study: StudyFolder) -> None:
    assert study.exists()
    assert study.manifest == make_manifest()
    assert study.records() == []
    assert study.proposals() == []


@pytest.mark.parametrize(
    "record",
    [
        complete(PROPOSAL, row("gmm", 4, 0.1 + 0.2), row("none", None, None, "collapsed")),
        failed(PROPOSAL),
        complete(Proposal(3, Configuration(1e-3, 2, 0.0)), state=State.PRUNED, val_loss=None),
    ],
)
def test_a_record_comes_back_as_it_was(study: StudyFolder, record: Record) -> None:
    assert study.add(record)
    assert study.records() == [record]
    assert study.record(record.proposal.number) == record
    (loaded,) = study.records()
    assert type(loaded.state) is State
    assert loaded.proposal.key == record.proposal.key


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
        proposal = Proposal(number, Configuration(1e-3, 32, 1.0))
        study.propose(proposal)
        study.add(failed(proposal))
    assert [p.number for p in study.proposals()] == [2, 9, 11, 123]
    assert [r.proposal.number for r in study.records()] == [2, 9, 11, 123]
    assert study.record(5) is None


def test_a_proposal_comes_back_as_it_was(study: StudyFolder) -> None:
    study.propose(PROPOSAL)
    assert study.proposals() == [PROPOSAL]


def test_unfinished_files_are_no_records(study: StudyFolder) -> None:
    for name in ("records", "proposals"):
        for other in (".0001.json.4711", "0001.json~", "0001.txt", "0001", "notes.json"):
            put(study.path / name / other, "{")
    assert study.records() == []
    assert study.proposals() == []


def test_a_damaged_trial_is_named_with_the_way_out(study: StudyFolder) -> None:
    study.propose(PROPOSAL)
    record, proposal = (study.path / name / "0007.json" for name in ("records", "proposals"))
    put(record, "{")
    with pytest.raises(UserError, match=r"records/0007\.json: .*no JSON.* repeats the trial"):
        study.records()
    record.unlink()
    study.add(failed(PROPOSAL))
    for content in ("[]", record.read_text().replace('"number": 7', '"number": 8')):
        storage.write_text(proposal, content)
        with pytest.raises(UserError, match=r"proposals/0007\.json: .*`proposal` in .* content"):
            study.proposals()
    record.unlink()
    with pytest.raises(UserError, match=r"proposals/0007\.json: .* proposes another trial"):
        study.proposals()


def test_a_record_of_another_trial_is_refused(study: StudyFolder) -> None:
    study.propose(PROPOSAL)
    study.add(failed(Proposal(7, Configuration(0.5, 32, 1.0))))
    with pytest.raises(UserError, match=r"records/0007\.json: .*another trial than proposals/0007"):
        study.trials()


def test_the_best_row_is_the_first_of_the_highest() -> None:
    rows = [row("gmm", 1, 0.6), row("gmm", 2, None, "x"), row("lof", 4, 0.8), row("lof", 8, 0.8)]
    best = complete(PROPOSAL, *rows).best
    assert best is not None
    assert (best.inlier, best.p) == ("lof", 4)
    assert complete(PROPOSAL, row("gmm", 2, None, "x")).best is None
    assert complete(PROPOSAL, row("gmm", 2, 0.0)).best == row("gmm", 2, 0.0)


def test_checkpoints_are_dropped_and_other_files_stay(study: StudyFolder) -> None:
    for signature in ("loser", "winner"):
        for name in ("best.safetensors", "last.safetensors", "error.txt"):
            put(study.encoder(signature) / name, name)
    study.drop_checkpoints("loser")
    study.drop_checkpoints("never there")
    assert [p.name for p in storage.children(study.encoder("loser"))] == ["error.txt"]
    assert len(storage.children(study.encoder("winner"))) == 3


def test_the_journal_is_a_local_file_until_it_is_published(
    study: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    assert study.fetch_journal() is None
    study.create(make_manifest())
    study.journal.write_text("running")
    assert study.journal.parent.name == study.path.name
    assert study.fetch_journal() == study.journal
    study.publish_journal()
    assert (study.path / "study.journal").read_text() == "running"
    fetched = study.fetch_journal()
    assert fetched is not None
    assert isinstance(fetched, Path)
    assert fetched.read_text() == "running"


def test_journals_of_two_studies_are_two_files(s3: S3) -> None:
    paths = [storage.to_path(f"s3://{BUCKET}/{name}") for name in ("a/valve", "b/valve")]
    assert len({StudyFolder(path).journal for path in paths}) == 2


def test_a_proposal_has_one_encoder() -> None:
    config = PROPOSAL.config("valve", "data", 3, TINY)
    assert config == TrialConfig(
        machine="valve",
        data="data",
        configuration=PROPOSAL.configuration,
        seed=3,
        options=TINY,
    )
    # The inlier model is not part of the encoder's configuration.
    other = Proposal(8, PROPOSAL.configuration, InlierSpec("lof", 8))
    assert other.config("valve", "data", 3, TINY).signature() == config.signature()


def test_nothing_is_written_where_the_study_is_gone(study: StudyFolder) -> None:
    (study.path / "study.json").unlink()
    with pytest.raises(MachineError, match=r"study\.json is gone"):
        study.propose(PROPOSAL)
    with pytest.raises(MachineError, match=r"study\.json is gone"):
        study.add(failed(PROPOSAL))
    assert (study.proposals(), study.records()) == ([], [])


def test_failed_trials_are_deleted_and_others_stay(study: StudyFolder) -> None:
    numbered = [Proposal(number, PROPOSAL.configuration) for number in range(4)]
    pruned = complete(numbered[3], state=State.PRUNED, val_loss=None)
    kept = [complete(numbered[1], row("gmm", 4, 0.5)), pruned]
    for record in (failed(numbered[0]), kept[0], failed(numbered[2]), kept[1]):
        study.add(record)
    assert study.drop_failed() == [failed(numbered[0]), failed(numbered[2])]
    assert study.records() == kept


def test_a_trial_costs_its_training_and_its_scores_on_all_its_devices() -> None:
    record = complete(PROPOSAL, train_seconds=5.0, score_seconds=2.0, devices=3)
    assert record.device_seconds == 21


def test_a_number_is_proposed_once(study: StudyFolder) -> None:
    study.propose(PROPOSAL)
    with pytest.raises(UserError, match="another raysearch is running"):
        study.propose(PROPOSAL)
    assert study.proposals() == [PROPOSAL]
