"""The folder of Ray's files: closed, short, and where nobody else can replace it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ray._private.node import Node

from raysearch.backend.private_folder import (
    LOCK,
    LONGEST,
    can_replace_files,
    is_fit,
    private_folder,
    remove_abandoned,
    temporary_files,
)


def test_the_folder_is_closed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with private_folder() as folder:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "ray").mkdir()
    assert not folder.exists()


def test_sockets_fit_into_the_longest_parent() -> None:
    session = "session_2026-11-28_01-32-01_554456_4194304"
    path = f"{'x' * LONGEST}/rs-12345678/ray/{session}/sockets/plasma_store"
    assert len(path) == 107
    assert callable(Node._prepare_socket_file)


def test_a_parent_that_is_too_long_or_open_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 10)))
    monkeypatch.setenv("TMPDIR", "relative")
    with private_folder() as folder:
        assert folder.parent == Path("/tmp")


def test_who_can_replace_files(tmp_path: Path) -> None:
    expected = {0o700: False, 0o755: False, 0o1777: False, 0o777: True, 0o770: True}
    for mode, answer in expected.items():
        tmp_path.chmod(mode)
        assert can_replace_files(tmp_path) == answer, oct(mode)
    tmp_path.chmod(0o700)
    assert can_replace_files(tmp_path / "none")
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
        assert can_replace_files(tmp_path)
        assert not is_fit(tmp_path)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder, short enough for sockets, that RAY_TMPDIR names."""
    with TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def abandoned() -> Path:
    """Make a folder with a file in a process, and kill the process."""
    program = (
        "import time\nfrom raysearch.backend.private_folder import private_folder\n"
        "with private_folder() as folder:\n"
        "    (folder / 'ray').mkdir()\n    (folder / 'ray' / 'log').touch()\n"
        "    print(folder, flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return folder


def test_the_folder_of_a_killed_process_is_removed_by_the_next(parent: Path) -> None:
    left = abandoned()
    assert left.parent == parent
    assert (left / "ray" / "log").exists()
    with private_folder() as first, private_folder() as second:
        assert not left.exists()
        # The folders of processes that live stay.
        assert sorted(parent.iterdir()) == sorted([first, second])
    assert list(parent.iterdir()) == []


def test_only_folders_that_are_surely_of_a_dead_process_are_removed(
    parent: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(0o700)
    (kept / LOCK).touch()
    (parent / "rs-linked00").symlink_to(kept)
    for name in ("rs-nolock00", "rs-foreign0", "rs-open0000", "rs-UPPER000", "rs-longer00x"):
        (parent / name).mkdir(0o700)
        if name != "rs-nolock00":
            (parent / name / LOCK).touch()
    (parent / "rs-open0000").chmod(0o755)
    (parent / "rs-pointer0").mkdir(0o700)
    (parent / "rs-pointer0" / LOCK).symlink_to(kept / LOCK)
    if os.geteuid() == 0:
        os.chown(parent / "rs-foreign0", 65534, 65534)
    else:
        (parent / "rs-foreign0").rename(parent / "rs-foreign0.")
    before = sorted(parent.iterdir())
    remove_abandoned(parent)
    assert sorted(parent.iterdir()) == before
    assert (kept / LOCK).exists()


def test_a_link_in_an_abandoned_folder_is_not_followed(parent: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "results").touch()
    left = abandoned()
    (left / "ray" / "to").symlink_to(kept)
    remove_abandoned(parent)
    assert not left.exists()
    assert (kept / "results").exists()


def test_a_folder_for_temporary_files_that_is_too_long_is_replaced(
    tmp_path: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, expected in (
        (tmp_path / ("long" * 20), str(tmp_path)),
        (parent, str(parent)),
    ):
        monkeypatch.setenv("TMPDIR", str(folder))
        with temporary_files(tmp_path):
            assert os.environ["TMPDIR"] == expected
        assert os.environ["TMPDIR"] == str(folder)
