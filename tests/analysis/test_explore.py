"""The notebook on runs: every cell is executed, on a run as on none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Study, begin, link, settle

NOTEBOOK = Path(__file__).parents[2] / "analysis" / "explore.py"


def execute(runs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", NOTEBOOK, "--runs", runs]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_every_cell_runs_on_a_run(tmp_path: Path, demo_data: Path) -> None:
    home = settle(tmp_path / "home", demo_data, link)
    run = Study(home, begin(home).wait())
    assert run.ended.code == 0, run.ended.err
    done = execute(home / "runs")
    assert (done.returncode, done.stderr) == (0, "")
    page = tmp_path / "page.html"
    # marimo keeps what it showed beside the notebook.
    notebook = shutil.copy(NOTEBOOK, tmp_path)
    export = [sys.executable, "-m", "marimo", "export", "html", notebook, "-o", page]
    done = subprocess.run(
        [*export, "--", "--runs", home / "runs"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    shown = page.read_text("utf-8")
    for title in (
        "valve: 3 COMPLETE",
        "How the search got on",
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
