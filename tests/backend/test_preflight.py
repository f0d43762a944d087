"""What a machine must reach before it is given trials."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.backend.preflight import hosts_without_access
from raysearch.config import Options
from raysearch.data.dataset import Source
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.space import Space
from tests.records import make_manifest, make_space


@pytest.fixture
def context(tmp_path: Path) -> StudyContext:
    study = StudyFolder(UPath(tmp_path / "runs" / "valve"))
    study.create(make_manifest())
    (tmp_path / "data").mkdir()
    (tmp_path / "weights").touch()
    source = Source(tmp_path / "data", "valve", ("0",))
    return StudyContext(study.path, source, "data", pretrained(str(tmp_path / "weights")))


def pretrained(weights: str | bool) -> Space:
    return make_space().model_copy(update={"fixed": Options(pretrained=weights)})


def test_a_machine_that_reaches_everything(context: StudyContext) -> None:
    assert hosts_without_access(context) == ""
    assert hosts_without_access(replace(context, space=pretrained(True))) == ""


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("runs/valve/study.json", "--out {}/runs/valve/study.json"),
        ("weights", "pretrained: {}/weights"),
    ],
)
def test_a_file_that_is_missing_here_is_named(
    context: StudyContext, tmp_path: Path, gone: str, told: str
) -> None:
    (tmp_path / gone).unlink()
    assert hosts_without_access(context) == told.format(tmp_path)


def test_recordings_that_are_missing_here_are_named(context: StudyContext, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    assert hosts_without_access(context) == f"--data {tmp_path}/data"
