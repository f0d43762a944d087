"""Where results lie: a local path, NFS, `s3://` or `gs://`, all of them as `UPath`.

Reading is what `UPath` offers. Here is what it leaves open: what the user typed becomes a path
without secrets in its name, and a file appears whole or not at all, wherever it is.
"""

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
from urllib.parse import parse_qsl, unquote, urlsplit

from filelock import FileLock
from upath import UPath

from raysearch.errors import UserError, one_line

AnyPath: TypeAlias = UPath | Path
"""A local path or one on an object store."""

_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, away from AWS, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"(\w+://)[^/\s@]+:[^/\s@]+@")


def cache_folder() -> Path:
    """What this node keeps for itself: `$RAYSEARCH_CACHE`, else `~/.cache/raysearch`."""
    return Path(os.environ.get("RAYSEARCH_CACHE") or Path.home() / ".cache" / "raysearch")


def to_path(text: str | Path) -> UPath:
    """Turns what the user typed into a path, and looks whether an object store lets us in.

    Credentials and the endpoint come from the environment (`AWS_ACCESS_KEY_ID`,
    `AWS_ENDPOINT_URL`, ...). `s3://KEY:SECRET@bucket/path?endpoint_override=URL&region=NAME`,
    as pyarrow reads it, works too. The path's text never shows the secret, but it travels with
    the path to every node, and Ray Tune keeps it in its state below the folder of a run.

    Raises:
        UserError: unknown scheme, no bucket, a library or an access that is missing.
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
    _look(path)
    return path


def _remote(scheme: str, text: str) -> UPath:
    parts = urlsplit(text, allow_fragments=False)
    login, _, bucket = parts.netloc.rpartition("@")
    if not bucket:
        raise UserError(f"{redact(text)}: expected {scheme}://BUCKET/PATH")
    if ":" in bucket:  # The text is not shown: most of it is a secret.
        raise UserError(f"{scheme}://...: write / and @ in KEY and SECRET as %2F and %40")
    # Other processes write here as well: what was listed before may be out of date.
    options: dict[str, Any] = {"use_listings_cache": False}
    if login:
        key, _, secret = login.partition(":")
        options |= {"key": unquote(key), "secret": unquote(secret)}
    query = dict(parse_qsl(parts.query))
    http = query.pop("scheme", "https")
    if endpoint := query.pop("endpoint_override", ""):
        options["endpoint_url"] = endpoint if "://" in endpoint else f"{http}://{endpoint}"
    if region := query.pop("region", ""):
        options["client_kwargs"] = {"region_name": region}
    if query or (scheme == "gs" and len(options) > 1):
        raise UserError(f"{redact(text)}: only endpoint_override, region and scheme of s3:// known")
    path: UPath = UPath(f"{scheme}://{bucket}{parts.path.rstrip('/')}", **options)
    check_name(path)
    return path


def _look(path: UPath) -> None:
    """Lists what is there, once, so that a bad address ends as one line and not as a traceback."""
    try:
        try:
            path.fs.ls(path.path)
        except FileNotFoundError:
            path.fs.info(path.drive)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no bucket of that name; make it first") from error
    except Exception as error:  # Each library has exceptions of its own.
        raise _refusal(path, "reach", error) from error


def check_name(path: AnyPath) -> None:
    """Refuses a name that an object store's library takes for a pattern, to delete by it, too.

    Raises:
        UserError: it is one.
    """
    if is_remote(path) and (found := set("*?[]") & set(str(path))):
        raise UserError(f"{path}: no name on an object store may hold {min(found)}")


def check_writable(folder: AnyPath) -> None:
    """Writes a file into a folder and removes it again.

    Raises:
        UserError: that is not possible; the message says why.
    """
    probe = folder / f".writable.{_nobody_else()}"
    try:
        write_bytes(probe, b"")
        probe.unlink()
    except Exception as error:  # Each library has exceptions of its own.
        raise _refusal(folder, "write to", error) from error


def _refusal(path: AnyPath, what: str, error: Exception) -> UserError:
    reason = one_line(error) or type(error).__name__
    way_out = ""
    if isinstance(path, UPath) and path.protocol in _CREDENTIALS:
        way_out = f"; set {_CREDENTIALS[path.protocol]} to what may"
    return UserError(f"cannot {what} {path}: {reason}{way_out}")


def redact(text: str) -> str:
    """Returns a text, such as a command, with the logins of all addresses in it hidden."""
    return _SECRET.sub(r"\1***@", text)


def is_uri(text: str) -> bool:
    """Whether a text that the user typed is an address, such as s3://bucket/runs."""
    return _SCHEME.match(text) is not None


def is_remote(path: AnyPath) -> bool:
    """Whether a path is on an object store, where folders and partial writes do not exist."""
    return not isinstance(path, Path)


def children(folder: UPath) -> list[UPath]:
    """What lies in a folder, sorted; nothing if there is no folder."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_texts(paths: Sequence[AnyPath]) -> list[str]:
    """Reads many small files, from an object store all at the same time."""
    remote = [path for path in paths if not isinstance(path, Path)]
    if not remote:
        return [path.read_text("utf-8") for path in paths]
    found = remote[0].fs.cat([path.path for path in remote], on_error="raise")
    return [found[path.path].decode() for path in remote]


def read_part(path: AnyPath, start: int, size: int) -> bytes:
    """Reads some bytes of a file, fewer at its end."""
    if isinstance(path, Path):
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    part: bytes = path.fs.cat_file(path.path, start=start, end=start + size)
    return part


def write_text(path: AnyPath, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Writes a file that appears whole or not at all."""
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
    """Writes a file whole, unless there is one.

    Returns:
        Whether it was written; of processes that try at the same time, one did it.
    """
    if isinstance(path, Path):
        partial = _partial(path)
        try:
            _write_through(partial, content)
            os.link(partial, path)
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


def append_line(path: AnyPath, line: str) -> None:
    """Appends a line. On an object store the file is rewritten, so only one process may do it."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    else:
        before = path.read_bytes() if path.exists() else b""
        write_bytes(path, before + f"{line}\n".encode())


def remove_tree(folder: AnyPath) -> None:
    """Removes a folder with all that is in it, if there is one."""
    with suppress(FileNotFoundError):
        if isinstance(folder, Path):
            shutil.rmtree(folder)
        else:
            folder.fs.rm(folder.path, recursive=True)


def lock(path: AnyPath, timeout: float = -1) -> FileLock:
    """A lock on a file or folder.

    Beside a local path lies its lock file, so the lock holds on every host that shares the path.
    An object store has no locks: there it is a file in this host's cache, which other hosts do
    not see.

    Args:
        path: what is locked; it need not exist.
        timeout: seconds to wait for it; negative waits for ever.
    """
    if isinstance(path, Path):
        file = path.with_name(f".{path.name}.lock")
    else:
        file = local_twin("locks", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file, timeout=timeout)


def local_twin(kind: str, path: UPath) -> Path:
    """Where this host keeps a file of its own for something on an object store."""
    endpoint = path.storage_options.get("endpoint_url") or ""
    return cache_folder() / kind / hashlib.sha256(f"{endpoint} {path}".encode()).hexdigest()[:16]


def tune_storage(folder: UPath) -> tuple[str, Any]:
    """Returns a folder as Ray's `storage_path` and `storage_filesystem` (of pyarrow, or None)."""
    if isinstance(folder, Path):
        return str(folder.absolute()), None
    from pyarrow.fs import FSSpecHandler, PyFileSystem  # type: ignore[import-untyped]

    return folder.path, PyFileSystem(FSSpecHandler(folder.fs))


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{_nobody_else()}")


def _nobody_else() -> str:
    """A name that no other process has, on no host that shares the folder."""
    return f"{socket.gethostname()}.{os.getpid()}"


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
