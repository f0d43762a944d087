"""The folder of Ray's files: closed, short, and where nobody else can replace it."""

import os
from pathlib import Path

import pytest
from ray._private.node import Node

from raysearch.backend.private_folder import LONGEST, can_replace_files, is_fit, private_folder


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
