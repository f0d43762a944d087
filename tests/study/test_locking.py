"""Locks on a local disk and leases on a real S3 server: one holder, which may die or be stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from upath import UPath

from raysearch import storage
from raysearch.study import locking
from raysearch.study.locking import BusyError, Lease, is_locked, lease_file, lock
from tests.s3 import BUCKET, S3
from tests.syscalls import NO_LINKS, NO_LOCKS, run_without


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "BEAT", 0.1)
    monkeypatch.setattr(locking, "PATIENCE", 1.0)


@pytest.fixture
def s3_folder(s3: S3, tmp_path: Path) -> UPath:
    """Return a folder on an object store that does not exist yet."""
    return storage.to_path(f"s3://{BUCKET}/{tmp_path.name}/valve")


def write_lease(path: storage.AnyPath, *, beat: int = 1, **facts: object) -> None:
    content = {"host": "node7 boot pid", "pid": 1, "token": "other", "at": time.time()}
    storage.write_text(lease_file(path), json.dumps(content | facts | {"beat": beat}))


def test_a_lock_is_held_by_one(folder: UPath, quick: None) -> None:
    folder = folder / "new"
    assert not is_locked(folder)
    with lock(folder, timeout=0):
        assert is_locked(folder)
        with pytest.raises(BusyError), lock(folder, timeout=0):
            pass
        with lock(folder.with_name("other"), timeout=0):
            pass
        assert is_locked(folder)
    assert not is_locked(folder)
    with lock(folder, timeout=0):
        pass
    assert not folder.exists()
    assert storage.children(folder.parent) == []


def test_a_lock_of_a_local_path_lies_beside_it(tmp_path: Path) -> None:
    runs = storage.to_path(tmp_path / "runs")
    with lock(runs / "valve"):
        assert [path.name for path in runs.iterdir()] == [".valve.lock"]


def test_a_node_that_lives_keeps_its_lease(s3_folder: UPath, quick: None) -> None:
    end = threading.Event()

    def live() -> None:
        beat = 0
        while not end.wait(0.1):
            beat += 1
            write_lease(s3_folder, beat=beat)

    write_lease(s3_folder)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert is_locked(s3_folder)
        with pytest.raises(BusyError, match="it runs on node7"), lock(s3_folder, timeout=1):
            pass
    finally:
        end.set()
        thread.join()


def test_the_lease_of_a_lost_node_ends_by_itself(s3_folder: UPath, quick: None) -> None:
    write_lease(s3_folder, at=time.time() - 100)
    assert not is_locked(s3_folder)
    with lock(s3_folder, timeout=1):
        assert is_locked(s3_folder)
    assert Lease(lease_file(s3_folder)).read() is None


def test_the_lease_of_a_killed_process_of_this_host_has_ended(s3_folder: UPath) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    write_lease(s3_folder, host=locking._host(), pid=ended.pid)
    assert not is_locked(s3_folder)
    # Without waiting for PATIENCE, which is not shortened here.
    start = time.monotonic()
    with lock(s3_folder, timeout=1):
        assert is_locked(s3_folder)
    assert time.monotonic() - start < locking.PATIENCE


def test_a_garbled_lease_ends_by_itself(s3_folder: UPath, quick: None) -> None:
    for content in (b"", b"[]", b"\xff"):
        storage.write_bytes(lease_file(s3_folder), content)
        with lock(s3_folder, timeout=1):
            assert is_locked(s3_folder)


def test_a_holder_is_dead_only_if_its_process_has_ended(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    lease = Lease(tmp_path / "lease")
    lease.acquire(0)
    content = json.loads(lease.file.read_bytes())
    lease.release()

    def is_dead(**facts: object) -> bool:
        return lease.is_dead(json.dumps({**content, **facts}).encode())

    assert not is_dead()
    assert is_dead(pid=process.pid)
    assert not is_dead(pid=process.pid, host="node7 boot pid")
    # The process of another user lives, and a lease that tells no process is not known to be dead.
    assert not is_dead(pid=1)
    assert not is_dead(pid="x")
    del content["pid"]
    assert not is_dead()


def test_a_lease_outlives_a_store_that_does_not_answer(tmp_path: Path, quick: None) -> None:
    lost: list[str] = []
    lease = Lease(tmp_path / "lease", lost.append)
    lease.acquire(0)
    # Neither read nor written as long as a folder is in its place.
    lease.file.unlink()
    lease.file.mkdir()
    time.sleep(0.5)
    lease.file.rmdir()
    deadline = time.monotonic() + 30
    while lease.read() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lease.read() is not None
    assert lost == []
    lease.release()
    assert lease.read() is None


def test_a_lease_that_was_taken_over_is_not_written_again(tmp_path: Path, quick: None) -> None:
    lost: list[str] = []
    lease = Lease(tmp_path / "lease", lost.append)
    lease.acquire(0)
    other = json.dumps({"host": "node7 boot pid", "token": "other", "at": time.time()})
    deadline = time.monotonic() + 30
    while not lost and time.monotonic() < deadline:
        # A beat may have begun before, and replace the first of these.
        storage.write_text(lease.file, other)
        time.sleep(0.2)
    assert lost == ["node7"]
    time.sleep(0.3)
    lease.release()
    assert lease.read() == other.encode()


HOLDER = """
import sys, time
from raysearch import storage
from raysearch.study import locking
locking.BEAT, locking.PATIENCE = 0.1, 1.0
try:
    with locking.lock(storage.to_path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_a_process_that_was_silent_for_too_long_stops(s3_folder: UPath, quick: None) -> None:
    command = [sys.executable, "-c", HOLDER, str(s3_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        os.kill(other.pid, signal.SIGSTOP)
        with lock(s3_folder, timeout=1):
            os.kill(other.pid, signal.SIGCONT)
            assert other.stdout.readline() == "stopped\n"
            assert is_locked(s3_folder)
        assert not is_locked(s3_folder)


def test_a_file_system_without_locks_has_a_lease(tmp_path: Path) -> None:
    code = (
        "import sys; from raysearch.study.locking import is_locked, lock;"
        "from raysearch.storage import children, to_path;"
        "path = to_path(sys.argv[1]) / 'valve'\n"
        "with lock(path, timeout=1):\n"
        "    print(is_locked(path), [each.name for each in children(path.parent)])\n"
        "print(is_locked(path), children(path.parent))"
    )
    result = run_without(NO_LINKS | NO_LOCKS, code, str(tmp_path))
    assert result.stdout.splitlines() == ["True ['.valve.lease']", "False []"], result.stderr
