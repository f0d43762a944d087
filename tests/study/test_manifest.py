"""The content of study.json."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from upath import UPath

from raysearch.study.manifest import Manifest, read_manifest
from tests.records import make_manifest


@pytest.mark.parametrize("machines", [{}, {"valve": "a" * 64, "fan": "b" * 64}])
def test_a_study_comes_back_with_its_machine_types(
    tmp_path: Path, machines: dict[str, str]
) -> None:
    manifest = make_manifest(machines=machines, files={"local-dir:net": "c" * 64})
    manifest.write(UPath(tmp_path))
    assert read_manifest(UPath(tmp_path)) == manifest
    # Studies on one machine type have the keys of earlier versions.
    assert ("machines" in json.loads((tmp_path / "study.json").read_text())) is bool(machines)


def test_a_study_does_not_change() -> None:
    manifest = make_manifest()
    with pytest.raises(ValidationError, match="frozen"):
        manifest.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("change", [{"seed": "x"}, {"format": 2}, {"started": "yesterday"}])
def test_a_study_of_another_version_is_refused(change: dict[str, object]) -> None:
    content = make_manifest().model_dump(by_alias=True)
    # A later version may have added keys.
    assert Manifest.model_validate(content | {"later": 1}) == make_manifest()
    with pytest.raises(ValidationError):
        Manifest.model_validate(content | change)
