"""The context of a study on the driver and on the nodes."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.data.source import Source
from raysearch.study.context import StudyContext
from tests.records import make_space


@pytest.mark.parametrize("name", ["runs/valve", "memory://runs/valve"])
def test_an_absolute_context_is_valid_in_every_working_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source(tmp_path, "valve", ("0", "1", "2"))
    context = StudyContext(UPath(name), source, "f00d", make_space())
    expected = str(tmp_path / name) if "://" not in name else name
    assert str(context.absolute().folder) == expected
    assert replace(context.absolute(), folder=context.folder) == context
