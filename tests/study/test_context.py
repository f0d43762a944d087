"""A study's context, as the driver holds it and as it travels to the trials."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.data.dataset import Source
from raysearch.study.context import StudyContext
from tests.records import make_space


@pytest.mark.parametrize("name", ["runs/valve", "memory://runs/valve"])
def test_it_travels_with_a_folder_that_means_the_same_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source(tmp_path, "valve", ("0", "1", "2"))
    context = StudyContext(UPath(name), source, "f00d", make_space())
    there = str(tmp_path / name) if "://" not in name else name
    assert str(context.absolute().folder) == there
    assert replace(context.absolute(), folder=context.folder) == context
