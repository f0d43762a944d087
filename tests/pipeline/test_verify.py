"""A winner trained again: bit by bit on the same machine, and by how much it differs elsewhere."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from raysearch import storage
from raysearch.errors import UserError
from raysearch.pipeline.finished import read_finished
from raysearch.pipeline.verify import Figure, Verification, _surroundings, describe, verify
from raysearch.study.folder import StudyFolder
from tests.command import Study, digests, raysearch


def test_a_figure_that_only_one_of_both_has_differs() -> None:
    assert Figure("score", 0.5, None).difference == float("inf")
    assert Figure("score", None, None).difference == 0.0
    assert Figure("score", 0.5, 0.75).difference == 0.25
    assert Figure("loss", 8.0, 6.0, is_relative=True).difference == 0.25


def test_the_verdict_names_what_differs() -> None:
    same = Figure("validation loss", 8.0, 8.0, is_relative=True)
    near, far = Figure("near", 0.5, 0.505), Figure("far", 0.5, 0.6)
    identical = Verification(3, (same,))
    assert describe(identical, 0.01) == ["trial 3: identical, in all of 1 figures"]
    within = replace(identical, figures=(same, near))
    assert within.holds(0.01)
    assert not within.is_identical
    assert describe(within, 0.01)[-1] == "trial 3: 1 of 2 figures differ, none by more than 0.01"
    beyond = replace(identical, figures=(same, near, far))
    assert not beyond.holds(0.01)
    assert beyond.holds(0.2)
    assert describe(beyond, 0.01) == [
        "  far: 0.5 in the run, 0.6 now",
        "  near: 0.5 in the run, 0.505 now",
        "trial 3: 2 of 3 figures differ, 1 by more than 0.01",
    ]


def test_what_differs_from_the_training_is_listed(finished: Study) -> None:
    study = read_finished(storage.to_path(finished.folder))
    record = StudyFolder(storage.to_path(finished.folder)).record(study.winner.trial)
    assert record is not None
    assert record.processor == "cpu"
    assert record.threads == len(os.sched_getaffinity(0))
    now = {"threads": record.threads, "processor": "cpu", "devices": 1.0, "torch": "1.0"}
    assert list(_surroundings(record, {"torch": "1.0"}, now)) == []
    assert list(_surroundings(replace(record, devices=0.25), {}, now)) == []
    other = {"threads": 64, "processor": "H100", "devices": 1.0, "torch": "9.0"}
    wide = replace(record, threads=2, devices=2.0)
    assert list(_surroundings(wide, {"torch": "1.0"}, other)) == [
        "threads 2 in the run, 64 now",
        "processor cpu in the run, H100 now",
        "devices 2.0 in the run, 1.0 now",
        "torch 1.0 in the run, 9.0 now",
    ]
    earlier = replace(record, threads=None, processor="")
    assert list(_surroundings(earlier, {}, {"threads": 2})) == ["threads unknown in the run, 2 now"]
    near = Verification(3, (Figure("near", 0.5, 0.505),), ("threads 2 in the run, 64 now",))
    assert describe(near, 0.01)[-2] == "  not as in the run: threads 2 in the run, 64 now"


def test_a_run_without_a_winner_is_refused(tmp_path: Path, finished: Study) -> None:
    folder = tmp_path / "valve"
    shutil.copytree(finished.folder, folder)
    frozen = json.loads((folder / "frozen.json").read_text())
    (folder / "records" / f"{frozen['trial']:04d}.json").unlink()
    with pytest.raises(UserError, match="has no record of its winner"):
        verify(storage.to_path(folder))
    (folder / "frozen.json").unlink()
    with pytest.raises(UserError, match="no frozen configuration yet"):
        verify(storage.to_path(folder))


@pytest.mark.slow
def test_the_same_machine_repeats_every_bit_and_writes_nothing(
    tmp_path: Path, finished: Study
) -> None:
    study = finished.copy(tmp_path / "home")
    before = digests(study.folder)
    ended = raysearch("verify", "runs/valve", folder=study.home)
    assert ended.code == 0, ended
    assert "identical, in all of" in ended.out
    assert digests(study.folder) == before


@pytest.mark.slow
def test_a_record_that_was_changed_is_seen(tmp_path: Path, finished: Study) -> None:
    study = finished.copy(tmp_path / "home")
    frozen = json.loads((study.folder / "frozen.json").read_text())
    path = study.folder / "records" / f"{frozen['trial']:04d}.json"
    content = json.loads(path.read_text())
    content["val_loss"] *= 1.05
    path.write_text(json.dumps(content))
    ended = raysearch("verify", "runs/valve", folder=study.home)
    assert ended.code == 1, ended
    assert "  validation loss: " in ended.out
    assert "1 by more than 0.01" in ended.out
    within = raysearch("verify", "runs/valve", "--tolerance", 0.1, folder=study.home)
    assert within.code == 0, within
