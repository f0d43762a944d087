"""Storage of results on a local path, NFS, `s3://` or `gs://`, all of them as `UPath`.

`UPath` reads files and folders. This module parses addresses without showing their secrets, and
writes files atomically on every kind of storage.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from upath import UPath

from raysearch.errors import UserError, one_line, redact

AnyPath: TypeAlias = UPath | Path
"""A local path or one on an object store."""

_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, away from AWS, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
NO_LINKS = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK}
)
"""Errors of a file system without hard links, as exFAT and some of FUSE and SMB."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def cache_folder() -> Path:
    """Return the cache folder of this node: `$RAYSEARCH_CACHE`, else `~/.cache/raysearch`."""
    return Path(os.environ.get("RAYSEARCH_CACHE") or Path.home() / ".cache" / "raysearch")


def to_path(text: str | Path) -> UPath:
    """Parse a path or address, and check the access to an object store.

    Credentials come from the environment or a profile (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, ...), as
    does the endpoint (`AWS_ENDPOINT_URL`), unless the address names it as pyarrow reads it:
    `s3://bucket/path?endpoint_override=URL&region=NAME`. A login in an address is refused: it would
    travel with the path to every node and into the pickles of Ray Tune.

    Raises:
        UserError: unknown scheme, a login, missing bucket, missing library, or refused access.
    """
    match = _SCHEME.match(str(text))
    if match is None:
        return UPath(text)
    scheme = match[1].lower()
    if scheme not in _LIBRARIES:
        raise UserError(f"{redact(str(text))}: expected a local path, s3://... or gs://...")
    if find_spec(_LIBRARIES[scheme]) is None:
        raise UserError(
            f"{redact(str(text))} needs {_LIBRARIES[scheme]}: pip install 'raysearch[{scheme}]'"
        )
    path = _remote(scheme, str(text))
    _check_access(path)
    return path


def _remote(scheme: str, text: str) -> UPath:
    try:
        parts = urlsplit(text, allow_fragments=False)
    except ValueError as error:
        raise UserError(f"{redact(text)}: expected {scheme}://BUCKET/PATH") from error
    query, bucket = dict(parse_qsl(parts.query)), parts.netloc
    if {"@", ":"} & set(bucket) or "@" in query.get("endpoint_override", ""):
        # The text is not shown: most of it is a secret.
        raise UserError(
            f"{scheme}://...: a login in an address ends up in files; set {_CREDENTIALS[scheme]}, "
            f"or a profile, and write {scheme}://BUCKET/PATH"
        )
    if not bucket:
        raise UserError(f"{redact(text)}: expected {scheme}://BUCKET/PATH")
    # Other processes write here as well: cached listings may be out of date.
    options: dict[str, Any] = {"use_listings_cache": False}
    http = query.pop("scheme", "https")
    if endpoint := query.pop("endpoint_override", ""):
        options["endpoint_url"] = endpoint if "://" in endpoint else f"{http}://{endpoint}"
    if region := query.pop("region", ""):
        options["client_kwargs"] = {"region_name": region}
    if query or (scheme == "gs" and len(options) > 1):
        address = text.partition("?")[0]
        raise UserError(f"{address}?...: only endpoint_override, region and scheme of s3:// known")
    path: UPath = UPath(f"{scheme}://{bucket}{parts.path.rstrip('/')}", **options)
    check_name(path)
    return path


def _check_access(path: UPath) -> None:
    """List the folder once, so that a bad address ends as one line and not as a traceback."""
    try:
        try:
            path.fs.ls(path.path)
        except FileNotFoundError:
            path.fs.info(path.drive)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no bucket of that name; make it first") from error
    except Exception as error:  # Each library has exceptions of its own.
        raise _access_error(path, "reach", error) from error


def check_name(path: AnyPath) -> None:
    """Refuse a name that an object store's library takes for a pattern, even when it deletes.

    Raises:
        UserError: the name holds a pattern.
    """
    if is_remote(path) and (wildcards := set("*?[]") & set(str(path))):
        raise UserError(f"{path}: no name on an object store may hold {min(wildcards)}")


def check_writable(folder: AnyPath) -> None:
    """Write a file into a folder and remove it again.

    Raises:
        UserError: the folder is not writable; the message says why.
    """
    probe = folder / f".writable.{_process_name()}"
    try:
        make_folder(folder)
        write_bytes(probe, b"")
        probe.unlink()
    except Exception as error:  # Each library has exceptions of its own.
        raise _access_error(folder, "write to", error) from error


def _access_error(path: AnyPath, action: str, error: Exception) -> UserError:
    reason = one_line(error) or type(error).__name__
    advice = ""
    if isinstance(path, UPath) and path.protocol in _CREDENTIALS:
        advice = f"; set {_CREDENTIALS[path.protocol]} to credentials with access"
    return UserError(f"cannot {action} {path}: {reason}{advice}")


def is_uri(text: str) -> bool:
    """Return True if a text is an address, such as s3://bucket/runs."""
    return _SCHEME.match(text) is not None


def is_remote(path: AnyPath) -> bool:
    """Return True if a path is on an object store, which has no folders and no partial writes."""
    return not isinstance(path, Path)


def children(folder: UPath) -> list[UPath]:
    """List the entries of a folder by name; empty if there is no folder."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_files(paths: Sequence[AnyPath]) -> list[bytes]:
    """Read many small files, concurrently from an object store."""
    remote = [path for path in paths if not isinstance(path, Path)]
    if not remote:
        return [path.read_bytes() for path in paths]
    contents = remote[0].fs.cat([path.path for path in remote], on_error="raise")
    return [contents[path.path] for path in remote]


def read_bytes(path: AnyPath) -> bytes:
    """Read a file that another process may replace meanwhile."""
    if isinstance(path, Path):
        return path.read_bytes()
    # At once: a file that is opened and then read must not change between the two.
    content: bytes = path.fs.cat_file(path.path)
    return content


def read_part(path: AnyPath, start: int, size: int) -> bytes:
    """Read some bytes of a file, fewer at its end."""
    if isinstance(path, Path):
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    part: bytes = path.fs.cat_file(path.path, start=start, end=start + size)
    return part


def write_text(path: AnyPath, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode())


def make_folder(folder: AnyPath, below: AnyPath | None = None) -> None:
    """Make a folder with its parents, unless it is there; an object store has no folders.

    Args:
        folder: to make.
        below: parent that must be there, since it was on a disk that may have been unmounted.

    Raises:
        FileNotFoundError: `below` is gone.
    """
    if not isinstance(folder, Path):
        return
    if below is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for level in range(len(folder.relative_to(str(below)).parts) - 1, -1, -1):
        (folder, *folder.parents)[level].mkdir(exist_ok=True)


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        FileNotFoundError: its folder is missing, see `make_folder`, or gone with its disk.
    """
    if isinstance(path, Path):
        partial = _partial(path)
        try:
            _write_through(partial, content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    else:
        path.fs.pipe_file(path.path, content)


def create_once(path: AnyPath, content: bytes) -> bool:
    """Write a file atomically, unless the path exists.

    Returns:
        True if the file was written; of concurrent processes only one gets True.
    """
    if isinstance(path, Path):
        partial = _partial(path)
        try:
            _write_through(partial, content)
            _publish(partial, path)
        except FileExistsError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        return True
    try:
        path.fs.pipe_file(path.path, content, mode="create")
    except FileExistsError:
        return False
    return True


def _publish(partial: Path, path: Path) -> None:
    """Rename a written file, unless its name is taken.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # The name is taken first, so that of concurrent processes one goes on.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(partial, path)


def remove_tree(folder: AnyPath) -> None:
    """Remove a folder with all its content, if it exists."""
    with suppress(FileNotFoundError):
        if isinstance(folder, Path):
            shutil.rmtree(folder)
        else:
            folder.fs.rm(folder.path, recursive=True)


def cache_path(kind: str, path: UPath) -> Path:
    """Return the path in this host's cache that belongs to a path on an object store."""
    endpoint = path.storage_options.get("endpoint_url") or ""
    return cache_folder() / kind / hashlib.sha256(f"{endpoint} {path}".encode()).hexdigest()[:16]


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_process_name()}")


def _process_name() -> str:
    """Return a name unique to this process among all hosts that share the folder."""
    return f"{socket.gethostname()}.{os.getpid()}"


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
