"""The script and the notebook of examples/, executed as in their instructions."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.command import write_space

EXAMPLES = Path(__file__).parents[2] / "examples"


def read_notebook() -> nbformat.NotebookNode:
    path = EXAMPLES / "search.ipynb"
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


@pytest.fixture
def home(demo_data: Path, tmp_path: Path) -> Path:
    """Make a folder with recordings and a space file where the examples expect them."""
    (tmp_path / "data").symlink_to(demo_data)
    (tmp_path / "search_spaces").mkdir()
    write_space(tmp_path / "search_spaces" / "demo.yaml", strategy={"trials": 1})
    return tmp_path


def test_every_example_is_executed_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {"search.py", "search.ipynb"}


def test_the_notebook_has_no_outputs() -> None:
    """Outputs in the repository would be those of another machine and another version."""
    notebook = read_notebook()
    nbformat.validate(notebook)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code"] == [[]] * 6


@pytest.mark.slow
def test_the_script_searches_and_scores(home: Path) -> None:
    """Only the script itself shows that its calls fit the library."""
    script = shutil.copy(EXAMPLES / "search.py", home)
    done = subprocess.run(
        [sys.executable, script, "data", "valve", "--space", "search_spaces/demo.yaml"],
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("valve: trial 0 has validation score 0.")
    assert "winner: Configuration(" in done.stdout
    assert "report: runs/valve/report.html" in lines
    clips = sorted((home / "data/dev_data/valve/source_test").glob("*.wav"))
    assert [line.partition(":")[0] for line in lines[-len(clips) :]] == [c.name for c in clips]


@pytest.mark.slow
def test_the_notebook_runs(home: Path) -> None:
    """Only a kernel shows that a search works in Jupyter, whose main thread runs an event loop."""
    notebook = read_notebook()
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(home)}})
    client.execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert any(output.output_type == "display_data" for output in outputs[3])  # the plot
    scores = "".join(output.text for output in outputs[-1])
    clips = sorted((home / "data/eval_data/valve/source_test").glob("section_03_*.wav"))
    assert [line.split()[0] for line in scores.splitlines()] == [clip.name for clip in clips]
