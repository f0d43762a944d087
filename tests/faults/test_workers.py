"""Trials of several workers: as exact as those of one, and they outlive the loss of one.

Only a whole run has workers that Ray Train starts, and starts again.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from raysearch.audio.demo import write_demo
from tests.command import Started, descendants, raysearch, table, title, write_space

pytestmark = pytest.mark.slow

EPOCHS = 6
TRIAL = (
    *("run", "--machine", "valve", "--space", "tiny.yaml"),
    *("--no-final", "--no-dashboard", "--no-report", "--trials", 1),
)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "records" / "0000.json").read_text())
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("workers")
    # More test clips than elsewhere: with a few, one swapped pair moves an AUC by a tenth.
    machines = ("valve", "fan", "pump")
    write_demo(home / "data", machines=machines, train_clips=12, test_clips=40, seconds=3.0)
    write_space(home / "tiny.yaml", fixed={"epochs": EPOCHS}, search={"lr": 1e-3})
    return home


@pytest.fixture(scope="module")
def alone(home: Path) -> Path:
    ended = raysearch(*TRIAL, "--name", "alone", folder=home)
    assert ended.code == 0, ended
    return home / "runs" / "alone"


def workers(pid: int) -> list[int]:
    """The workers of a trial, among the processes that a run started."""
    return [child for child in descendants(pid) if title(child).startswith("ray::RayTrainWorker")]


@pytest.fixture(scope="module")
def together(home: Path) -> Path:
    """A trial of two workers, one of which was killed in the middle."""
    folder = home / "runs" / "together"
    started = Started([*TRIAL, "--name", "together", "--workers-per-trial", 2], home)
    started.wait_until(lambda: any(folder.glob("encoders/*/last.safetensors")))
    pids = workers(started.process.pid)
    assert len(pids) == 2, pids
    os.kill(pids[-1], signal.SIGKILL)
    ended = started.wait()
    assert ended.code == 0, ended
    return folder


def test_a_trial_goes_on_when_one_of_its_workers_was_killed(together: Path) -> None:
    found = record(together)
    assert found["state"] == "COMPLETE"
    assert len(found["resumes"]) == 1
    assert 1 <= found["resumes"][0] < EPOCHS
    assert [epoch["epoch"] for epoch in found["history"]] == list(range(1, EPOCHS + 1))
    assert len(list((together / "records").iterdir())) == 1


def test_two_workers_find_what_one_finds(alone: Path, together: Path) -> None:
    one, two = record(alone), record(together)
    assert two["encoder"] == one["encoder"]
    for a, b in zip(one["history"], two["history"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=0.01)
        assert b["val_loss"] == pytest.approx(a["val_loss"], rel=0.01)
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert (b["inlier"], b["p"], b["error"]) == (a["inlier"], a["p"], a["error"])
        if a["val_score"] is not None:
            assert b["val_score"] == pytest.approx(a["val_score"], abs=0.01)


def test_the_tables_have_the_same_columns(alone: Path, together: Path) -> None:
    one, two = table(alone / "trials.csv"), table(together / "trials.csv")
    assert [list(row) for row in one] == [list(row) for row in two]
