"""The manifest of a study, study.json: the settings that reproduce it."""

import json
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from upath import UPath

from raysearch import __version__, storage
from raysearch.errors import UserError
from raysearch.study.stored import FROM_BACKUP, read_json

FILE = "study.json"
LIBRARIES = ("torch", "timm", "ray", "optuna", "scikit-learn", "numpy")
"""Libraries whose versions may change a result."""

REMEDY = f"{FROM_BACKUP}, or start anew with --fresh"
"""Way out of a damaged study.json."""


class _Content(BaseModel):
    # Ignore keys that a later version may have added.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class TestClips(_Content):
    """Numbers of test clips of a product ID."""

    normal: int
    anomalous: int


class ClipCounts(_Content):
    """Numbers of clips of a search.

    Attributes:
        training: of the target machine type, by product ID.
        validation: by validation ID.
        others: training clips by other machine type.
        left_out: defective files.
    """

    training: dict[str, int]
    validation: dict[str, TestClips]
    others: dict[str, int] = Field(alias="other machine types")
    left_out: int = Field(alias="left out")


class Manifest(_Content):
    """The content of study.json.

    Attributes:
        format: of the file; 1 if the key is missing.
        machine: target machine type.
        ids: product IDs of the target machine type.
        data: folder or address of the recordings.
        ground_truth: folder of the ground truth if it is outside of `data`.
        allow_defects: True leaves defective files out; False stops the run.
        fingerprint: of the recordings of the search.
        machines: fingerprint of the recordings of each validation machine of a shared search; empty
            for any other search.
        files: value of an option -> hash of the files that it names; empty for studies of versions
            without hashes.
        clips: numbers of clips; None for studies of versions without counts.
        plain_layout_rule: rule that selects the test clips of the plain layout.
        space_file: path as the user wrote it.
        space: content of the space file with all defaults.
        seed: of the sampler and of the trials.
        command: of the run.
        started: time, ISO 8601.
        versions: of Python and of the libraries, by name.
    """

    format: Literal[1] = Field(1, exclude=True)
    machine: str
    ids: tuple[str, ...] = ()
    validation_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    data: str
    ground_truth: str | None = None
    allow_defects: bool = False
    fingerprint: str
    machines: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    clips: ClipCounts | None = None
    plain_layout_rule: str = ""
    space_file: str
    space: dict[str, Any]
    seed: int
    command: str
    started: str
    versions: dict[str, str]

    @field_validator("started")
    @classmethod
    def _time(cls, text: str) -> str:
        datetime.fromisoformat(text)
        return text

    def write(self, folder: UPath) -> None:
        """Write study.json into a folder."""
        empty = set() if self.machines else {"machines"}
        content = self.model_dump(mode="json", by_alias=True, exclude=empty)
        storage.write_text(folder / FILE, json.dumps(content, indent=2) + "\n")


def read_manifest(folder: UPath) -> Manifest:
    """Read study.json of a folder.

    Raises:
        UserError: the file is missing, damaged or of another version.
    """
    path = folder / FILE
    try:
        return read_json(path, Manifest.model_validate, REMEDY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} holds no study (no study.json); `raysearch run` makes one"
        ) from error


def library_versions() -> dict[str, str]:
    """Return the versions of raysearch, Python and the libraries; empty if not installed."""
    versions = {"raysearch": __version__, "python": platform.python_version()}
    return versions | {name: _version(name) for name in LIBRARIES}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
