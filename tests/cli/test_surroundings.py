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


def test_a_terminal_without_utf_8_shows_an_escape(recordings: Path) -> None:
    ended = command("data", "check", recordings, PYTHONIOENCODING="ascii")
    assert b"Traceback" not in ended.stderr, ended.stderr
    assert b"\\u03bb" in ended.stdout


def test_names_are_not_left_out_in_silence_where_python_reads_no_utf_8(recordings: Path) -> None:
    ended = command("data", "check", recordings, LC_ALL="C", PYTHONUTF8="0")
    assert ended.returncode == 2, ended
    [line] = ended.stderr.decode().splitlines()
    assert line.endswith("set PYTHONUTF8=1")


def test_a_command_with_a_name_that_is_no_text_is_one_line(demo_data: Path, tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/ger\xe4usch")
    options = ("--space", REPOSITORY / "search_spaces" / "demo.yaml", "--data", demo_data)
    ended = command(*RUN, "valve", *options, "--out", out)
    assert ended.returncode == 2, ended
    [line] = ended.stderr.decode().splitlines()
    assert "ger\\udce4usch: Ray takes no name that is not UTF-8; rename it" in line


def test_a_cache_that_cannot_be_written_ends_a_run_at_its_start(
    demo_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    options = ("--space", REPOSITORY / "search_spaces" / "demo.yaml", "--data", demo_data)
    ended = command(
        *(*RUN, "valve", *options, "--out", tmp_path / "runs"),
        RAYSEARCH_CACHE=str(tmp_path / "file" / "cache"),
    )
    assert ended.returncode == 2, ended
    [line] = ended.stderr.decode().splitlines()
    assert line.startswith("raysearch: cannot write to ")
    assert line.endswith("set RAYSEARCH_CACHE to a folder with room that you can write to")
    assert not (tmp_path / "runs").exists()


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
