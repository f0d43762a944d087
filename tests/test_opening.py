"""A study is one process's at a time, and what was refused leaves nothing behind."""

from pathlib import Path

import pytest
from upath import UPath

from raysearch import storage
from raysearch.audio.dataset import Source
from raysearch.errors import UserError
from raysearch.opening import Opened, _clear, alone, withdraw
from raysearch.search.study import Proposal, StudyFolder
from tests.records import complete, make_space, row
from tests.tiny import open_valve


def test_a_second_process_is_refused(folder: UPath) -> None:
    with alone(folder):
        storage.write_text(folder / "study.json", "{}")
        with (
            pytest.raises(UserError, match="another raysearch is running") as caught,
            alone(folder),
        ):
            pass
        assert str(folder) in str(caught.value)
    with alone(folder):
        pass


def test_what_was_refused_leaves_no_lock(folder: UPath) -> None:
    with pytest.raises(UserError, match="so"), alone(folder):
        raise UserError("so")
    assert storage.children(folder.parent) == []
    with alone(folder):
        storage.write_text(folder / "study.json", "{}")
    local = not storage.is_remote(folder)
    assert [path.name for path in storage.children(folder.parent)] == [
        *([f".{folder.name}.lock"] if local else []),
        folder.name,
    ]


def test_what_begins_anew_keeps_its_ledger_only_and_leaves_other_studies_alone(
    folder: UPath,
) -> None:
    tune = folder.parent / "tune"
    curves = [tune / name / "events" for name in (f"{folder.name}_0003", "run_0003", "other")]
    for path in (folder / "records" / "0000.json", folder / "test_ledger.jsonl", *curves):
        storage.write_text(path, "{}")
    _clear(folder)
    assert [path.name for path in storage.children(folder)] == ["test_ledger.jsonl"]
    assert [path.exists() for path in curves] == [False, True, True]


def test_where_nothing_can_be_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with (
        pytest.raises(UserError, match=f"cannot write to {tmp_path}/runs"),
        alone(storage.place(tmp_path / "runs" / "valve")),
    ):
        pass


def test_a_name_that_is_a_pattern_is_refused(s3: object) -> None:
    with (
        pytest.raises(UserError, match=r"no name on an object store may hold \*"),
        alone(storage.place("s3://machines/runs") / "val*"),
    ):
        pass


@pytest.mark.parametrize("ledger", [False, True])
def test_a_study_that_was_begun_in_vain_is_withdrawn(
    folder: UPath, demo_data: Path, ledger: bool
) -> None:
    opened = begun(folder, demo_data, new=True)
    storage.write_text(folder / "proposals" / "0000.json", "{}")
    if ledger:
        storage.write_text(folder / "test_ledger.jsonl", "{}")
    withdraw(opened)
    assert [path.name for path in storage.children(folder)] == ["test_ledger.jsonl"] * ledger


def test_a_study_with_a_result_or_from_before_is_not_withdrawn(
    folder: UPath, demo_data: Path
) -> None:
    withdraw(begun(folder, demo_data, new=False))
    assert StudyFolder(folder).exists()
    opened = begun(folder, demo_data, new=True)
    opened.study.add(complete(Proposal(0, 1e-3, 16, 1.0), row("gmm", 1, 0.5)))
    withdraw(opened)
    assert len(StudyFolder(folder).records()) == 1


def begun(folder: UPath, demo_data: Path, *, new: bool) -> Opened:
    study = StudyFolder(folder)
    study.begin({"machine": "valve"})
    study.journal.touch()
    source = Source(demo_data, "valve", ("0", "1", "2"))
    return Opened(study, make_space(), source, open_valve(demo_data), new)
