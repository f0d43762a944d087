"""Data and studies that are made once for a session of tests and shared by its processes."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock

from tests.command import Ended, Study, begin, link, settle, write_space

TRAIN_CLIPS = 8
"""Training clips of an ID in the shared data set."""

FINALISTS = {"top": 2, "seeds": 2}
"""Finalists of the shared study."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of the session; the first process that asks for it makes it.

    Args:
        factory: of pytest's temporary folders.
        name: of the folder.
        make: writes the folder, which does not exist yet.
    """
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # Each worker has a folder below the one of the session.
    folder, made = session / name, session / f"{name}.made"
    with FileLock(session / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


def shared_data(factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic data set: three machine types, six IDs, clips of 3 s."""
    from raysearch.data.synthetic.demo import DemoSize, write_demo

    def make(folder: Path) -> None:
        machines = ("valve", "fan", "pump")
        write_demo(folder / "data", DemoSize(TRAIN_CLIPS, 6, 3.0), machines=machines)

    return made_once(factory, "demo", make) / "data"


def shared_study(factory: pytest.TempPathFactory, data: Path) -> Study:
    """Return a search with finalists, its final test and its report."""

    def make(home: Path) -> None:
        settle(home, data, link)
        write_space(home / "tiny.yaml", strategy={"finalists": FINALISTS})
        ended = begin(home).wait()
        assert ended.code == 0, ended
        (home / "ended.json").write_text(json.dumps(asdict(ended)))

    home = made_once(factory, "finished", make)
    return Study(home, Ended(**json.loads((home / "ended.json").read_text())))
