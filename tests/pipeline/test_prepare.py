"""A study is one process's at a time, and what was refused leaves nothing behind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from raysearch import storage
from raysearch.config import Options
from raysearch.data.source import Source
from raysearch.errors import DataError, UserError
from raysearch.pipeline import prepare
from raysearch.pipeline.earlier_study import (
    check_same_recordings,
    check_same_space,
    clear_study,
    discard_new_study,
    kept_files,
)
from raysearch.pipeline.prepare import check_recordings, study_lock
from raysearch.storage import to_path
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from raysearch.training.weights import file_hashes
from tests.files import put
from tests.records import complete, make_manifest, make_space, row
from tests.tiny import open_valve


def test_a_second_process_is_refused(folder: UPath) -> None:
    with study_lock(folder):
        put(folder / "study.json", "{}")
        with (
            pytest.raises(UserError, match="another raysearch is running") as caught,
            study_lock(folder),
        ):
            pass
        assert str(folder) in str(caught.value)
    with study_lock(folder):
        pass


def test_what_was_refused_leaves_no_lock(folder: UPath) -> None:
    with pytest.raises(UserError, match="so"), study_lock(folder):
        raise UserError("so")
    assert storage.children(folder.parent) == []
    with study_lock(folder):
        put(folder / "study.json", "{}")
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
        put(path, "{}")
    clear_study(folder)
    assert [path.name for path in storage.children(folder)] == ["test_ledger.jsonl"]
    assert [path.exists() for path in curves] == [False, True, True]


def test_where_nothing_can_be_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with (
        pytest.raises(UserError, match=f"cannot write to {tmp_path}/runs"),
        study_lock(storage.to_path(tmp_path / "runs" / "valve")),
    ):
        pass


def test_a_name_that_is_a_pattern_is_refused(s3: object) -> None:
    with (
        pytest.raises(UserError, match=r"no name on an object store may hold \*"),
        study_lock(storage.to_path("s3://machines/runs") / "val*"),
    ):
        pass


@pytest.mark.parametrize("ledger", [False, True])
def test_a_study_that_was_begun_in_vain_is_withdrawn(folder: UPath, ledger: bool) -> None:
    study = begun(folder)
    put(folder / "proposals" / "0000.json", "{}")
    if ledger:
        put(folder / "test_ledger.jsonl", "{}")
    discard_new_study(study, new=True)
    assert [path.name for path in storage.children(folder)] == ["test_ledger.jsonl"] * ledger


def test_a_study_with_a_result_or_from_before_is_not_withdrawn(folder: UPath) -> None:
    study = begun(folder)
    discard_new_study(study, new=False)
    assert study.exists()
    study.add(complete(Proposal(0, Configuration(1e-3, 16, 1.0)), row("gmm", 1, 0.5)))
    discard_new_study(study, new=True)
    assert len(study.records()) == 1


def begin(folder: UPath, space: Space) -> None:
    StudyFolder(folder).create(make_manifest(space, fingerprint="f00d"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"lr": {"low": 1e-5, "high": 1e-2, "log": True}},
            "search.lr.low = 0.0001, now it is 1e-05",
        ),
        ({"batch_size": [32]}, "search.batch_size = [32, 64, 128], now it is [32]"),
        ({"inlier": {"gmm": [1]}}, "search.inlier."),
        ({"strategy": {"seed": 7}}, "strategy.seed = 0, now it is 7"),
    ],
)
def test_another_space_is_not_mixed_into_a_study(
    folder: UPath, changes: Mapping[str, Any], said: str
) -> None:
    begin(folder, make_space())
    with pytest.raises(UserError) as caught:
        check_same_space(folder, make_space(**changes))
    assert str(caught.value).startswith(f"{folder} was begun with {said}")
    assert str(caught.value).endswith("use --fresh to start anew or --name to keep both")


def of_weights(path: Path, content: bytes) -> tuple[Space, dict[str, str]]:
    """Return a space whose networks begin with a file, and the hash of the file."""
    path.write_bytes(content)
    space = make_space().model_copy(update={"fixed": Options(pretrained=str(path))})
    return space, file_hashes(space.trial_options())


def test_weights_may_move_but_not_change(folder: UPath, tmp_path: Path) -> None:
    space, files = of_weights(tmp_path / "a.safetensors", b"one")
    StudyFolder(folder).create(make_manifest(space, files=files))
    check_same_space(folder, space, files)
    moved, moved_files = of_weights(tmp_path / "b.safetensors", b"one")
    check_same_space(folder, moved, moved_files)
    # Proposals may name the earlier path.
    assert kept_files(StudyFolder(folder), moved_files) == files | moved_files
    with pytest.raises(UserError, match=r"a.safetensors holds other weights than when .* begun"):
        check_same_space(folder, *of_weights(tmp_path / "a.safetensors", b"three"))
    with pytest.raises(UserError, match=r"was begun with fixed.pretrained = .*a.safetensors, now"):
        check_same_space(folder, *of_weights(tmp_path / "b.safetensors", b"three"))


def test_a_study_without_hashes_keeps_its_signatures(folder: UPath, tmp_path: Path) -> None:
    space, files = of_weights(tmp_path / "a.safetensors", b"one")
    assert kept_files(StudyFolder(folder), files) == files
    StudyFolder(folder).create(make_manifest(space))
    check_same_space(folder, space, files)
    assert kept_files(StudyFolder(folder), files) == {}
    with pytest.raises(UserError, match=r"was begun with fixed.pretrained"):
        check_same_space(folder, *of_weights(tmp_path / "b.safetensors", b"one"))


def test_trials_patience_warm_start_and_finalists_may_change(folder: UPath) -> None:
    begin(folder, make_space())
    check_same_space(folder, make_space())
    more = {"trials": 99, "patience": 5, "warm_start": "paper", "finalists": {"top": 2, "seeds": 2}}
    check_same_space(folder, make_space(strategy=more))


def test_a_folder_that_holds_something_else_is_left_alone(folder: UPath) -> None:
    check_same_space(folder, make_space())
    put(folder / "test_ledger.jsonl", "{}")  # of a study that was removed
    check_same_space(folder, make_space())
    put(folder / "holiday.jpg", "sea")
    with pytest.raises(UserError, match="is not empty and no study; choose another --name"):
        check_same_space(folder, make_space())


def test_other_recordings_are_not_mixed_into_a_study(folder: UPath) -> None:
    check_same_recordings(folder, "cafe")
    begin(folder, make_space())
    check_same_recordings(folder, "f00d")
    with pytest.raises(UserError, match="was searched on other recordings; use --fresh"):
        check_same_recordings(folder, "cafe")


def test_a_test_id_that_has_no_training_clips_is_named(demo_data: Path) -> None:
    source = Source(demo_data, "valve", ("0", "1", "2"))
    space = make_space()
    with pytest.raises(DataError) as caught:
        check_recordings(source, space.model_copy(update={"test_ids": ("3", "9")}))
    assert str(caught.value).startswith("test ID 9 of valve has no training clips in ")
    assert str(caught.value).endswith("set test_ids in the space file")
    # No ID of them at all is a set without its evaluation data, which comes later.
    assert check_recordings(source, space.model_copy(update={"test_ids": ("8", "9")})).clips


def test_a_study_is_called_what_its_user_called_it(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source(demo_data, "valve", ("0", "1", "2"))
    data = open_valve(demo_data)
    context = StudyContext(to_path("runs/valve"), source, data.fingerprint, make_space())
    prepare.create_study(context, data, space_file="tiny.yaml", command="raysearch run")
    assert (tmp_path / "runs" / "valve" / "study.json").exists()


def begun(folder: UPath) -> StudyFolder:
    study = StudyFolder(folder)
    study.create(make_manifest())
    study.journal.touch()
    return study
