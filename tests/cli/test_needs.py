"""What is said of a user, temporary folders, a terminal and names of recordings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.cli.disks import Findings
from raysearch.cli.needs import try_data_names, try_machine, try_temporary, try_user
from tests.cli.test_disks import mounted

TERMINAL = "from raysearch.cli.needs import try_terminal\nprint(*try_terminal().notes)"


def test_a_usual_user_has_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert try_user() == Findings()


def test_a_home_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("/", "/nonexistent"):
        monkeypatch.setenv("HOME", home)
        [line] = try_user().faults
        assert line.startswith(f"HOME is {home}")
        assert "set HOME to a folder of yours" in line


def test_a_read_only_home_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAYSEARCH_CACHE", raising=False)
    with mounted(tmp_path, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"):
        lines = try_machine(tmp_path, None).faults
    assert lines[0].startswith(f"HOME is {tmp_path}, which cannot be written: set HOME")
    assert "Read-only file system; RAYSEARCH_CACHE takes another folder" in lines[1]


def test_a_user_without_a_name_is_noted() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    program = (
        "import os; from raysearch.cli.needs import try_user; os.environ['HOME'] = '/tmp'\n"
        "os.environ.pop('USER', None); os.setuid(54321); print(*try_user().notes)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    expected = "user 54321 has no passwd entry: libraries see USER=user54321"
    assert ended.stdout.strip() == expected, ended.stderr


def test_a_temporary_folder_that_ray_cannot_use_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = tmp_path / ("l" * 90), Path("/tmp")
    long.mkdir()
    reasons = {str(long): "bytes, and paths of sockets leave", "x": "a relative path"}
    for variable, other in (("TMPDIR", "RAY_TMPDIR"), ("RAY_TMPDIR", "TMPDIR")):
        monkeypatch.setenv(other, str(short))
        for folder, reason in (reasons | {"/nonexistent": "is no folder"}).items():
            monkeypatch.setenv(variable, folder)
            [line] = try_temporary().notes
            assert line.startswith(f"{variable}={folder} ")
            assert reason in line
            assert f"set {variable} to" in line
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert try_temporary() == Findings()


def test_a_foreign_temporary_folder_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    foreign = Path("/tmp", f"f{os.getpid()}")
    foreign.mkdir()
    try:
        os.chown(foreign, 65534, 65534)
        monkeypatch.setenv("TMPDIR", str(foreign))
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        [line] = try_temporary().notes
    finally:
        foreign.rmdir()
    assert line.startswith(f"TMPDIR={foreign} belongs to another user")


@pytest.mark.parametrize(
    ("encoding", "noted"), [("ascii", True), ("latin-1", True), ("utf-8", False)]
)
def test_a_terminal_that_is_not_utf_8_is_noted(encoding: str, noted: bool) -> None:
    environment = os.environ | {"PYTHONIOENCODING": f"{encoding}:backslashreplace"}
    ended = subprocess.run(
        [sys.executable, "-c", TERMINAL],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ("set PYTHONIOENCODING=utf-8" in ended.stdout) == noted, ended


def test_names_of_recordings_that_are_no_text_are_noted(tmp_path: Path) -> None:
    (tmp_path / "λ").mkdir()
    assert try_data_names(tmp_path) == Findings()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/ger\xe4usch.wav")).touch()
    [line] = try_data_names(tmp_path).notes
    assert line.startswith(f"1 names in {tmp_path} are not UTF-8 and left out, the first ")
    assert "convmv" in line
