"""Content of the files that a network begins with, so that a signature is of weights, not of paths.

Two options name files: `pretrained: FILE` and `backbone: local-dir:FOLDER`. No torch is imported:
the driver of a search hashes the files before the first trial.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from raysearch.config import Options
from raysearch.errors import UserError

LOCAL = "local-dir:"
"""Prefix of a backbone that is in a folder."""

_OF_NETWORK = ("config.json", "*.safetensors", "*.bin", "*.pt", "*.pth")
"""Files of such a folder that timm may read."""

FileHashes = Mapping[str, str]
"""Value of an option -> hash of the files that the value names."""


def file_hashes(options: Iterable[Options]) -> dict[str, str]:
    """Hash the files that some options name; values without files are left out."""
    values = {value for each in options for value in (each.pretrained, each.backbone)}
    named = {value: list(_files(value)) for value in values if isinstance(value, str)}
    return {value: _hash(files) for value, files in sorted(named.items()) if files}


def check_files(before: FileHashes, now: FileHashes, where: str, remedy: str) -> None:
    """Refuse files whose content has changed since a search began.

    Args:
        before: hashes at the beginning; empty for a study of a version without hashes.
        now: hashes of the same values.
        where: study, as messages name it.
        remedy: way out, as messages name it.

    Raises:
        UserError: a file is another than before.
    """
    for value, hashed in before.items():
        if now.get(value, hashed) != hashed:
            raise UserError(
                f"{value} holds other weights than when {where} was begun (sha256 {now[value]}, "
                f"then {hashed}); put the earlier file back, or {remedy}"
            )


def _files(value: str) -> Iterator[Path]:
    if value.startswith(LOCAL):
        folder = Path(value.removeprefix(LOCAL))
        yield from sorted({path for pattern in _OF_NETWORK for path in folder.glob(pattern)})
    elif Path(value).is_file():
        yield Path(value)


def _hash(files: list[Path]) -> str:
    """Return 12 hexadecimal digits of the hash of files; the path of a single file is no part."""
    whole = hashlib.sha256()
    for path in files:
        status = path.stat()
        content = _content_hash(str(path.absolute()), status.st_size, status.st_mtime_ns)
        name = path.name if len(files) > 1 else ""
        whole.update(f"{name}:{content}\n".encode())
    return whole.hexdigest()[:12]


@lru_cache
def _content_hash(path: str, size: int, modified: int) -> str:
    """Hash a file's content; a file of the same size and time is not read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
