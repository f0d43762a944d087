"""What a machine must reach before it is given trials."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.audio.dataset import Source
from raysearch.config import Options
from raysearch.search.job import Job
from raysearch.search.reach import unreached
from raysearch.search.study import StudyFolder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    study = StudyFolder(UPath(tmp_path / "runs" / "valve"))
    study.begin({"machine": "valve"})
    (tmp_path / "data").mkdir()
    options = Options(pretrained=str(tmp_path / "weights"))
    (tmp_path / "weights").touch()
    source = Source(tmp_path / "data", "valve", ("0",))
    return Job(study.path, source, "data", options, (), seed=0)


def test_a_machine_that_reaches_everything(job: Job) -> None:
    assert unreached(job) == ""
    assert unreached(replace(job, options=Options(pretrained=True))) == ""


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("runs/valve/study.json", "--out {}/runs/valve/study.json"),
        ("weights", "pretrained: {}/weights"),
    ],
)
def test_a_file_that_is_missing_here_is_named(
    job: Job, tmp_path: Path, gone: str, told: str
) -> None:
    (tmp_path / gone).unlink()
    assert unreached(job) == told.format(tmp_path)


def test_recordings_that_are_missing_here_are_named(job: Job, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    assert unreached(job) == f"--data {tmp_path}/data"
