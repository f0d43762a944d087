"""The notebook on runs: every cell is executed, with a run and without."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Study

pytestmark = pytest.mark.slow  # marimo executes the notebook in processes of its own.

NOTEBOOK = Path(__file__).parents[2] / "analysis" / "explore.py"


def execute(runs: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-W", "error", NOTEBOOK, "--runs", runs]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_cell_runs_on_a_run(tmp_path: Path, finished: Study) -> None:
    """Only the files of a whole run have all that the cells read."""
    runs = finished.home / "runs"
    done = execute(runs)
    assert (done.returncode, done.stderr) == (0, "")
    page = tmp_path / "page.html"
    # marimo keeps what it showed beside the notebook.
    notebook = shutil.copy(NOTEBOOK, tmp_path)
    export = [sys.executable, "-m", "marimo", "export", "html", notebook, "-o", page]
    done = subprocess.run(
        [*export, "--", "--runs", runs], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    shown = page.read_text("utf-8")
    for title in (
        "valve: 5 COMPLETE",
        "Search progress",
        "Configurations",
        "Best score of each inlier model and p",
        "Training of trial",
        "Final test",
    ):
        assert title in shown
    assert "Traceback" not in shown


def test_a_folder_without_runs_is_said(tmp_path: Path) -> None:
    done = execute(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
