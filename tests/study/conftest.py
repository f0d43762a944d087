"""Fixtures of the tests of a study's files."""

import pytest
from upath import UPath

from raysearch.storage import make_folder


@pytest.fixture
def folder(folder: UPath) -> UPath:
    """Return the folder of a study, which is there, on disk and on an object store."""
    make_folder(folder)
    return folder
