"""Atomic installation of the content of a zip file."""

import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from raysearch.errors import DataError, UserError

PathMap = Callable[[PurePosixPath], str | None]
"""Function that maps the path of a zip member to a path in the data set; None skips the member."""


def install(
    archive: Path, name: str, root: Path, staging: Path, map_path: PathMap
) -> tuple[str, ...]:
    """Unpack a zip file into `staging`, then move the files into the data set.

    Args:
        archive: the zip file.
        name: name of the zip file in error messages.
        root: folder of the data set.
        staging: temporary folder on the file system of `root`; it is removed.
        map_path: path of a member -> path relative to `root`.

    Returns:
        The folders that received files, relative to `root`.

    Raises:
        DataError: no zip file, a member that leads out of it, or no member for the data set.
        UserError: too little disk space.
    """
    shutil.rmtree(staging, ignore_errors=True)
    try:
        paths = _unpack(archive, name, staging, map_path)
        folders = sorted({PurePosixPath(path).parent.as_posix() for path in paths})
        for folder in folders:
            _move(staging / folder, root / folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tuple(folders)


def require_space(folder: Path, needed: int) -> None:
    """Check that a file system has room for `needed` more bytes.

    Raises:
        UserError: too little disk space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"not enough disk space at {folder}: {needed / 1e9:.1f} GB needed, "
            f"{free / 1e9:.1f} GB free; choose another folder or fewer machines"
        )


def _unpack(archive: Path, name: str, staging: Path, map_path: PathMap) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as content:
            members = list(_members(content, name, map_path))
            require_space(archive.parent, sum(info.file_size for info, _ in members))
            for info, target in members:
                _extract(content, info, staging / target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # An encrypted member is a RuntimeError.
        raise DataError(f"{name} is no zip file, or a damaged one: {error}") from error
    if not members:
        raise DataError(f"{name} holds none of the files that are expected in it")
    return [target for _, target in members]


def _members(
    content: zipfile.ZipFile, name: str, map_path: PathMap
) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    for info in content.infolist():
        path = PurePosixPath(info.filename)
        # `map_path` keeps only the last part, so no member could escape; but a zip with such a
        # name is malicious, so none of its members is trusted.
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
            raise DataError(f"{name} is refused: its member {info.filename!r} leads out of it")
        if not info.is_dir() and (target := map_path(path)) is not None:
            yield info, target


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with content.open(info) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _move(folder: Path, target: Path) -> None:
    """Rename a folder at once, or add its files to an existing folder."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        return
    for file in folder.iterdir():
        file.replace(target / file.name)
