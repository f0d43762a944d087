"""Folder of the files of Ray on this machine, closed to other users.

Ray makes the folders of its sockets, logs and code writable for every user, and anybody may have
made the folder /tmp/ray.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET = "/rs-12345678/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
LONGEST = 107 - len(SOCKET)
"""Largest length of the path of a parent folder: the paths of sockets have at most 107 bytes."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a temporary folder that no other user can enter or replace; remove it after the block.

    The folder is in `RAY_TMPDIR` or `TMPDIR` if sockets fit in there, else in /tmp.
    """
    variables = (os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR"))
    parents = [Path(folder) for folder in variables if folder]
    parent = next((folder for folder in parents if is_fit(folder)), Path("/tmp"))  # nosec B108
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir=parent))
    try:
        yield folder
    finally:
        # Processes of Ray that are about to end may still write.
        shutil.rmtree(folder, ignore_errors=True)


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
