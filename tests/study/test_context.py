"""The context of a study on the driver and on the nodes."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.data.source import Source
from raysearch.study.context import StudyContext
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
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


def test_an_encoder_has_the_hashes_of_the_files_that_its_space_names(tmp_path: Path) -> None:
    """The same name with another content is another encoder."""
    source = Source(tmp_path, "valve", ("0", "1", "2"))
    context = StudyContext(UPath(tmp_path), source, "f00d", make_space(strategy={"seed": 7}))
    proposal = Proposal(3, Configuration(1e-3, 32, 1.0))
    config = context.config(proposal)
    assert (config.machine, config.data, config.seed) == ("valve", "f00d", 7)
    assert (config.files, config.configuration) == ({}, proposal.configuration)
    backbone = context.options.backbone
    signatures = {
        replace(context, files={backbone: content}).config(proposal).signature()
        for content in ("a", "b")
    }
    assert len(signatures | {config.signature()}) == 3
