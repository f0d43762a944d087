"""The real command in odd surroundings: no home, no name, no UTF-8, names that are too long."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import COMMAND, PATIENCE
from tests.source import REPOSITORY

RUN = ("run", "--no-dashboard", "--no-report", "--trials", 1, "--machine")
NOBODY = 54321
"""Number of a user without a name."""


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def recordings(tmp_path: Path, demo_data: Path) -> Path:
    """A data set whose machine type and one file have names beyond ASCII."""
    data = tmp_path / "data"
    shutil.copytree(next(demo_data.rglob("valve")), data / "λ")
    return data


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_terminal_without_utf_8_shows_an_escape(
    recordings: Path, variables: dict[str, str]
) -> None:
    ended = command("data", "check", recordings, **variables)
    assert b"Traceback" not in ended.stderr, ended.stderr
    # Where Python itself does not speak UTF-8, the name is none that it can read: it is left out.
    left_out = b"audio files, such as " + "λ".encode() in ended.stderr
    assert left_out or b"\\u03bb" in ended.stdout


def test_a_file_with_a_latin_1_name_is_no_traceback(recordings: Path) -> None:
    folder = next(path for path in (recordings / "λ").iterdir() if path.is_dir())
    clip = next(folder.glob("*.wav"))
    os.rename(clip, os.fsencode(folder) + b"/ger\xe4usch_id_00_00000001.wav")
    ended = command("data", "check", recordings)
    assert b"Traceback" not in ended.stderr, ended.stderr
    assert b"valve" not in ended.stdout
    assert "λ".encode() in ended.stdout
    space = REPOSITORY / "search_spaces" / "demo.yaml"
    ended = command(*RUN, "λ", "--data", recordings, "--out", recordings / "x", "--space", space)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr, ended.stderr


def test_a_name_that_is_too_long_is_one_line(demo_data: Path, tmp_path: Path) -> None:
    ended = command(
        *(*RUN, "valve", "--data", demo_data, "--out", tmp_path / "runs"),
        *("--space", REPOSITORY / "search_spaces" / "demo.yaml", "--name", "n" * 260),
    )
    assert ended.returncode == 2, ended
    line = ended.stderr.decode().splitlines()[-1]
    assert "too long" in line
    assert "--name" in line


def test_a_user_without_a_home_is_told_to_set_one() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    # Another user may be unable to read the modules, so they are imported before.
    program = (
        "import os; from raysearch.cli import surroundings as s; os.environ.pop('HOME', None)\n"
        f"os.environ.pop('USER', None); os.setuid({NOBODY}); s.settle()\n"
        "print(os.environ['USER'])\n"
        "try: s.check_home()\nexcept s.UserError as error: print(error)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == [
        f"user{NOBODY}",
        f"user {NOBODY} has no home folder: set HOME to a folder that you can write to",
    ], ended.stderr
