"""Content of a zip file -> its places under a folder, whole or not at all."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from raysearch.errors import DataError, UserError

Place = Callable[[PurePosixPath], str | None]
"""Maps a member's path to where it belongs, relative to a root; None: it is not wanted."""


def install(archive: Path, name: str, root: Path, staging: Path, place: Place) -> tuple[str, ...]:
    """Unpacks a zip file into `staging`, then moves what came of it to its places.

    Args:
        archive: the zip file.
        name: what error messages call it.
        root: what the places are relative to.
        staging: a folder that does not matter, on the file system of `root`; it is removed.
        place: says which members are wanted, and where.

    Returns:
        The folders that were filled, relative to `root`.

    Raises:
        DataError: it is no zip file, or a name leads out of it, or nothing in it is wanted.
        UserError: too little disk space.
    """
    shutil.rmtree(staging, ignore_errors=True)
    try:
        places = _unpack(archive, name, staging, place)
        folders = sorted({PurePosixPath(p).parent.as_posix() for p in places})
        for folder in folders:
            _move(staging / folder, root / folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tuple(folders)


def require_space(folder: Path, needed: int) -> None:
    """Checks that a file system has room for `needed` more bytes.

    Raises:
        UserError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"not enough disk space at {folder}: {needed / 1e9:.1f} GB needed, "
            f"{free / 1e9:.1f} GB free; choose another folder or fewer machines"
        )


def _unpack(archive: Path, name: str, staging: Path, place: Place) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as content:
            members = list(_members(content, name, place))
            require_space(archive.parent, sum(info.file_size for info, _ in members))
            for info, target in members:
                _extract(content, info, staging / target)
    except zipfile.BadZipFile as error:
        raise DataError(f"{name} is no zip file, or a damaged one: {error}") from error
    if not members:
        raise DataError(f"{name} holds none of the files that are expected in it")
    return [target for _, target in members]


def _members(
    content: zipfile.ZipFile, name: str, place: Place
) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    for info in content.infolist():
        path = PurePosixPath(info.filename)
        # `place` keeps only a last part, so nothing could escape; but who packs such a name
        # means harm, and then the rest is not to be trusted either.
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
            raise DataError(f"{name} is refused: its member {info.filename!r} leads out of it")
        if not info.is_dir() and (target := place(path)) is not None:
            yield info, target


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with content.open(info) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _move(folder: Path, target: Path) -> None:
    """Renames a folder at once, or adds its files to one that was there before."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        return
    for file in folder.iterdir():
        file.replace(target / file.name)
