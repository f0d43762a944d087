"""Files below a folder: links are followed once, and what cannot be read is named."""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raysearch.storage import AnyPath

READ_SUFFIXES = frozenset(
    {
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc"),
    }
)
"""Suffixes of audio files that libsndfile reads."""
OTHER_SUFFIXES = frozenset(
    {".m4a", ".aac", ".mp4", ".wma", ".amr", ".ac3", ".mka", ".webm", ".ape", ".wv", ".dsf"}
)
"""Suffixes of audio files that libsndfile does not read."""


@dataclass(frozen=True)
class Unread:
    """A file or a folder that is left out, and the reason.

    Attributes:
        path: below the folder that was listed.
        reason: why no recording of it is read.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files below a folder, without hidden ones.

    Attributes:
        files: paths below the folder.
        unread: folders and links that could not be followed.
    """

    files: tuple[Path, ...]
    unread: tuple[Unread, ...]


def list_files(root: AnyPath) -> Listing:
    """List all files below a folder; a folder that several links lead to is listed once."""
    if isinstance(root, Path):
        return _Walk(Path(root)).listing()
    skipped = len(root.parts)
    paths = (Path(*path.parts[skipped:]) for path in root.rglob("*"))
    return Listing(tuple(path for path in paths if not _is_hidden(path)), ())


def _is_hidden(path: Path) -> bool:
    """Return True for files of the system and of incomplete downloads."""
    return any(part.startswith(".") for part in path.parts)


class _Walk:
    """Walk of a local folder: the folder itself first, then what links lead to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unread: list[Unread] = []
        self.links: deque[str] = deque()
        # A link to a folder above would lead to the data once more, and to much else.
        self.seen = {_identity(folder) for folder in root.resolve().parents}

    def listing(self) -> Listing:
        files = [*self._files("")]
        while self.links:
            link = self.links.popleft()
            with suppress(OSError):
                if _identity(self.root / link) in self.seen:
                    self._leave_out(link, "a link to a folder that is read already")
                    continue
            files += self._files(link)
        return Listing(tuple(files), tuple(self.unread))

    def _leave_out(self, name: str, reason: str) -> None:
        self.unread.append(Unread(Path(name), reason))

    def _files(self, start: str) -> Iterator[Path]:
        """Yield the files below a folder, and remember the links to other folders."""
        pending = [start]
        while pending:
            folder = pending.pop()
            path = self.root / folder
            try:
                identity = _identity(path)
                if identity in self.seen:
                    continue
                self.seen.add(identity)
                with os.scandir(path) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                self._leave_out(folder, f"a folder that cannot be read ({error.strerror})")
                continue
            base = Path(folder)
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                readable = os.fsencode(name).decode("utf-8", "backslashreplace")
                if readable != name:
                    self._leave_out(readable, "a name that is not UTF-8")
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                elif os.path.isfile(entry):
                    yield base / entry.name
                elif os.path.isdir(entry):
                    self.links.append(name)
                elif os.path.exists(entry):
                    self._leave_out(name, "a pipe or a device")
                else:
                    self._leave_out(name, "a link to a file or folder that is not there")


def _identity(path: Path) -> tuple[int, int]:
    """Return the numbers that a folder has under all its names.

    Raises:
        OSError: the folder may not be entered.
    """
    stat = os.stat(f"{path}/.")
    return stat.st_dev, stat.st_ino


def check_answer(file: AnyPath) -> None:
    """Check that the storage answers: a file that it cannot deliver is no defect of the file.

    Raises:
        OSError: the storage does not answer, or the file is gone.
    """
    if isinstance(file, Path):
        with suppress(PermissionError):
            file.read_bytes()


def file_stamps(files: Sequence[AnyPath]) -> list[str]:
    """Return the size and modification time of each file.

    Raises:
        FileNotFoundError: a file is missing.
    """
    stamps: dict[str, str] = {}
    for folder in {file.parent for file in files if not isinstance(file, Path)}:
        for entry in folder.fs.ls(folder.path, detail=True):
            modified = entry.get("LastModified") or entry.get("updated") or entry.get("mtime")
            stamps[entry["name"]] = f"{entry['size']}/{modified}"
    return [_stamp(file, stamps) for file in files]


def _stamp(file: AnyPath, remote: Mapping[str, str]) -> str:
    if isinstance(file, Path):
        stat = file.stat()
        return f"{stat.st_size}/{stat.st_mtime_ns}"
    if file.path not in remote:
        raise FileNotFoundError(str(file))
    return remote[file.path]
