"""Trials of folders on real file systems and a real store, and where system calls fail."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from upath import UPath

from raysearch.cli.disks import Findings, try_folder, try_space
from tests.syscalls import NO_LINKS, NO_LOCKS, run_without

TRY = (
    "import sys\nfrom pathlib import Path\nfrom raysearch.cli.disks import try_folder\n"
    "findings = try_folder(Path(sys.argv[1]), '--out')\n"
    "print(*findings.faults, *findings.notes, sep='\\n')"
)


def test_a_usual_folder_has_no_line_and_keeps_nothing(tmp_path: Path) -> None:
    assert try_folder(tmp_path / "not" / "yet", "--out") == Findings()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        (NO_LINKS, ["has no hard links: files are created exclusively instead"]),
        (NO_LOCKS, ["has no locks: a run keeps a lease instead, which ends 30 s after its host"]),
        (NO_LINKS | NO_LOCKS, ["has no hard links", "has no locks"]),
        ({86: 5, 265: 5}, ["refuses a hard link (Input/output error); --out takes another folder"]),
        ({73: 5}, ["refuses a lock (Input/output error); --out takes another folder"]),
        ({74: 5}, ["Input/output error; --out takes another folder"]),  # fsync
        ({82: 95, 264: 95, 316: 95}, ["Operation not supported; --out takes"]),  # rename
    ],
)
def test_a_file_system_that_lacks_something_has_a_line_for_it(
    tmp_path: Path, calls: dict[int, int], lines: list[str]
) -> None:
    ended = run_without(calls, TRY, str(tmp_path))
    printed = ended.stdout.splitlines()
    assert len(printed) == len(lines), ended
    for line, expected in zip(printed, lines, strict=True):
        assert str(tmp_path) in line
        assert expected in line
    assert list(tmp_path.iterdir()) == []


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    mount = ["mount", *options, str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"):
        expected = f"cannot write to {tmp_path}: Read-only file system; --out takes another folder"
        assert try_folder(tmp_path, "--out") == Findings((expected,))


def test_a_small_disk_is_named_with_what_is_needed(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        assert try_space(tmp_path, 1000, "--out", "checkpoints") == Findings()
        [line] = try_space(tmp_path, 2 * 10**9, "--out", "checkpoints").faults
        assert line == f"0.0 GB free in {tmp_path}; set --out to a disk with 2.0 GB for checkpoints"
        # What is there already needs no room.
        (tmp_path / "decoded").write_bytes(bytes(900_000))
        assert try_space(tmp_path, 1_000_000, "RAYSEARCH_CACHE", "recordings") == Findings()


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        with suppress(OSError):
            (tmp_path / "full").write_bytes(bytes(10**6))
        [line] = try_folder(tmp_path, "RAYSEARCH_CACHE").faults
        assert "No space left on device; RAYSEARCH_CACHE takes another folder" in line


@pytest.mark.usefixtures("s3")
def test_a_store_creates_a_name_once() -> None:
    folder = UPath("s3://machines/needs", use_listings_cache=False)
    assert try_folder(folder, "--out") == Findings()
    assert not folder.exists()
    missing = try_folder(UPath("s3://no-such-bucket/needs"), "--out")
    assert missing.faults[0].startswith("cannot write to s3://no-such-bucket/needs: ")
