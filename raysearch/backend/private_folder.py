"""Folder of the files of Ray on this machine, closed to other users.

Ray makes the folders of its sockets, logs and code writable for every user, and anybody may have
made the folder /tmp/ray.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = "/rs-12345678/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
LONGEST = 107 - len(SOCKET)
"""Largest length of the path of a parent folder: the paths of sockets have at most 107 bytes."""
LOCK = "driver.lock"
"""File in the folder that its process keeps locked as long as it lives."""
_NAME = re.compile(r"rs-[a-z0-9_]{8}")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a temporary folder that no other user can enter or replace; remove it after the block.

    The folder is in `RAY_TMPDIR` or `TMPDIR` if sockets fit in there, else in /tmp. Folders of
    processes that were killed are removed.

    Raises:
        OSError: there is no room, or no right to make a folder.
    """
    parents = [folder for folder in candidates() if is_fit(folder)]
    for each in parents:
        remove_abandoned(each)
    parent = parents[0] if parents else candidates()[-1]
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir=parent))
    try:
        lock = _lock_new(folder)
        try:
            yield folder
        finally:
            os.close(lock)
    finally:
        # Processes of Ray that are about to end may still write.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
    """Set `TMPDIR` to a folder in this block if it is none that Ray can use.

    Ray's dashboard makes sockets in `TMPDIR` and does not start where their paths are too long.
    """
    before = os.environ.get("TMPDIR")
    if not before or is_fit(Path(before)):
        yield
        return
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ["TMPDIR"] = before


def candidates() -> list[Path]:
    """List the parents of the folder, in the order in which they are tried; /tmp is the last."""
    variables = (os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR"))
    return [*(Path(folder) for folder in variables if folder), Path("/tmp")]  # nosec B108


def remove_abandoned(parent: Path) -> None:
    """Remove this user's folders in a parent whose processes were killed.

    The lock of such a folder is free. A folder without one is left alone: its process may be about
    to make it. Numbers of processes are not compared, as containers may share the parent.
    """
    with suppress(OSError):
        for folder in parent.iterdir():
            if _NAME.fullmatch(folder.name) and _is_closed(folder):
                with suppress(OSError):
                    _remove_unlocked(folder)


def _is_closed(folder: Path) -> bool:
    """Return True for a folder, and no link, that this user alone can enter."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    mode = stat.S_IMODE(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and mode == 0o700


def _remove_unlocked(folder: Path) -> None:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)  # which follows no link
    finally:
        os.close(lock)


def _lock_new(folder: Path) -> int:
    """Make the lock of a new folder, and return its descriptor, which no child inherits."""
    new = folder / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # Without locks in its file system, the folder is never removed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder / LOCK)  # only now, so that nobody meets the file unlocked
    return lock


def is_fit(folder: Path) -> bool:
    """Return True if this process can keep a folder in there, safe from users but root."""
    if not folder.is_absolute() or len(os.fsencode(folder)) > LONGEST:
        return False
    return os.access(folder, os.W_OK | os.X_OK) and not can_replace_files(folder)


def can_replace_files(folder: Path) -> bool:
    """Return True if another user than root can replace this user's files in a folder."""
    try:
        status = folder.stat()
    except OSError:
        return True
    is_open = status.st_mode & 0o022 and not status.st_mode & 0o1000
    return bool(is_open) or status.st_uid not in (0, os.geteuid())
