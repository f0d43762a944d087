"""Trial of what a run does in its folders: links, locks, renames, names, creation once, room."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from raysearch import storage
from raysearch.cli.options import LONGEST_NAME
from raysearch.errors import one_line
from raysearch.storage import NO_LINKS, AnyPath, is_remote
from raysearch.study.locking import NO_LOCKS, PATIENCE

SUFFIXES = 60
"""Bytes that names of files add to the name of a run."""


@dataclass(frozen=True)
class Findings:
    """Lines about a machine.

    Attributes:
        faults: that stop a run.
        notes: on what a run does instead of what the machine lacks.
    """

    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.faults + other.faults, self.notes + other.notes)


def try_folder(folder: AnyPath, setting: str) -> Findings:
    """Try in a folder, or in the nearest one above that exists, what a run does there.

    Args:
        folder: of results or of the cache.
        setting: variable or flag that names another folder.
    """
    if is_remote(folder):
        return _try_store(folder, setting)
    local = Path(str(folder))
    existing = next((each for each in (local, *local.parents) if each.is_dir()), Path("/"))
    try:
        with _scratch(existing) as scratch:
            return _try_files(scratch, local, setting) + _try_names(scratch, local, setting)
    except OSError as error:
        reason = error.strerror or one_line(error)
        return Findings((f"cannot write to {local}: {reason}; {setting} takes another folder",))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    scratch = folder / f".needs.{uuid4().hex}"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try_files(scratch: Path, folder: Path, setting: str) -> Findings:
    """Try writing through, renaming, links and locks."""
    first, second = scratch / "first", scratch / "second"
    with first.open("wb") as file:
        file.write(b"first")
        file.flush()
        os.fsync(file.fileno())
    second.write_bytes(b"second")
    os.replace(first, second)
    faults = []
    if second.read_bytes() != b"first" or first.exists():
        faults.append(
            f"{folder} renames no file over another, so a file may be half written; {setting} "
            "takes another folder"
        )
    links, locks = _try_link(second, first), _try_lock(second)
    notes = []
    if links in NO_LINKS:
        first.unlink(missing_ok=True)
        if not _creates_once(first):
            faults.append(
                f"{folder} has neither hard links nor exclusive creation, so two runs may take "
                f"each other's trials; {setting} takes another folder"
            )
        notes.append(f"{folder} has no hard links: files are created exclusively instead")
    elif links:
        faults.append(
            f"{folder} refuses a hard link ({os.strerror(links)}); {setting} takes another folder"
        )
    if locks in NO_LOCKS:
        notes.append(
            f"{folder} has no locks: a run keeps a lease instead, which ends {PATIENCE:.0f} s "
            "after its host was lost"
        )
    elif locks:
        faults.append(
            f"{folder} refuses a lock ({os.strerror(locks)}); {setting} takes another folder"
        )
    return Findings(tuple(faults), tuple(notes))


def _try_link(path: Path, link: Path) -> int:
    """Return the error number of a hard link; 0 if there is none."""
    try:
        os.link(path, link)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _try_lock(path: Path) -> int:
    """Return the error number of a lock; 0 if there is none."""
    try:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _creates_once(path: Path) -> bool:
    for _ in range(2):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return True
    return False


def _try_names(scratch: Path, folder: Path, setting: str) -> Findings:
    longest = os.pathconf(scratch, "PC_NAME_MAX")
    faults, notes = [], []
    if 0 < longest < LONGEST_NAME + SUFFIXES - 5:
        notes.append(
            f"{folder} keeps names of {longest} bytes: --name takes {longest - SUFFIXES} at most"
        )
    try:
        (scratch / "λ").touch()
        if "λ" not in os.listdir(scratch):
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
    except (OSError, UnicodeEncodeError):
        faults.append(f"{folder} keeps no name such as λ; {setting} takes another folder")
    return Findings(tuple(faults), tuple(notes))


def _try_store(folder: AnyPath, setting: str) -> Findings:
    """Try on an object store that of two files of one name only the first is created."""
    mark = folder / f".needs.{uuid4().hex}"
    try:
        created = [storage.create_once(mark, content) for content in (b"first", b"second")]
        kept = storage.read_bytes(mark)
    except Exception as error:  # Each library has exceptions of its own.
        reason = one_line(error) or type(error).__name__
        return Findings((f"cannot write to {folder}: {reason}; {setting} takes another folder",))
    finally:
        with suppress(Exception):
            mark.unlink()
    if created == [True, False] and kept == b"first":
        return Findings()
    return Findings(
        (
            f"{folder}: the store has no conditional create (If-None-Match), so two runs may take "
            f"each other's trials; {setting} takes a bucket of a store that has it",
        )
    )


def try_space(folder: AnyPath, needed: int, setting: str, purpose: str) -> Findings:
    """Compare the room for a folder, with what the folder holds already, with a need in bytes."""
    if is_remote(folder):
        return Findings()
    local = Path(str(folder))
    free = free_bytes(local)
    if free >= needed or free + folder_bytes(local) >= needed:
        return Findings()
    return Findings(
        (
            f"{free / 1e9:.1f} GB free in {local}; set {setting} to a disk with "
            f"{needed / 1e9:.1f} GB for {purpose}",
        )
    )


def free_bytes(folder: Path) -> int:
    """Return the bytes free on the disk that a folder is, or will be, on."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).free


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files under a folder."""
    return sum(path.lstat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for above, _, names in os.walk(folder):
        for name in names:
            path = Path(above, name)
            with suppress(OSError):
                if stat.S_ISREG(path.stat().st_mode):
                    yield path
