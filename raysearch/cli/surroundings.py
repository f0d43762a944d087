"""Surroundings of a command: texts that a terminal cannot show, a home folder, names of files.

A container may run under a user without a name and a home folder, and a terminal may not speak
UTF-8. Neither is a reason for a traceback.
"""

import errno
import io
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path

from raysearch.errors import UserError, one_line, printable
from raysearch.storage import cache_folder, check_writable

CACHE = "set RAYSEARCH_CACHE to a folder with room that you can write to"
ADVICE = {
    errno.ENAMETOOLONG: "file systems keep 255 bytes; choose a shorter --name",
    errno.ENOSPC: "the disk is full; make room, or set --out, RAYSEARCH_CACHE or TMPDIR to another",
    errno.EDQUOT: "your quota is used up; make room, or set --out or RAYSEARCH_CACHE to elsewhere",
}
"""Ways out of errors of a file system."""


def settle() -> None:
    """Make the process fit for a foreign terminal and for a user without a name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        # Libraries ask for the name of the user, and have no other way to learn one.
        os.environ.setdefault("USER", f"user{os.getuid()}")


def check_home() -> None:
    """Check that there is a home folder, where libraries keep settings and caches.

    Raises:
        UserError: there is none.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise UserError(
            f"user {os.getuid()} has no home folder: set HOME to a folder that you can write to"
        ) from error


def check_encoding() -> None:
    """Check that names of files are read as UTF-8; else those such as λ would be left out.

    Raises:
        UserError: Python reads them otherwise.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise UserError(
            f"names of files are read as {encoding} here, so that those such as λ are none: set "
            "PYTHONUTF8=1"
        )


def check_texts(command: Sequence[str]) -> None:
    """Check that a command and its folder are text, as Ray passes both on to its processes.

    Raises:
        UserError: a name in them is not UTF-8.
    """
    for text in (*command, os.getcwd()):
        if not is_text(text):
            raise UserError(
                f"{printable(text)}: Ray takes no name that is not UTF-8; rename it, or make a "
                "symbolic link to it with another name"
            )


def is_text(name: str) -> bool:
    """Return True if all bytes of a name are UTF-8; Python holds others as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def check_cache() -> None:
    """Check that the cache folder can be written, before a run begins.

    Raises:
        UserError: it cannot.
    """
    try:
        check_writable(cache_folder())
    except UserError as error:
        raise UserError(f"{error}; {CACHE}") from error


SILENCE = frozenset(
    {
        ("aiohttp", "ClientConnectionError"),
        ("botocore", "ConnectionError"),
        ("botocore", "HTTPClientError"),
    }
)
"""Errors of an object store that does not answer, by library and class."""


def store_explanation(error: Exception) -> str:
    """Return the line for an object store that does not answer; empty for any other error."""
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    if not kinds & SILENCE:
        return ""
    return (
        f"the object store does not answer ({one_line(error)}); no result is lost, and the same "
        "command goes on once it does"
    )


def explanation(error: Exception) -> str:
    """Return the line for an error of a file system or of a name; empty for any other error."""
    if isinstance(error, UnicodeEncodeError):
        name = _name_around(error)
        hint = "rename it, such as by `convmv -f latin1 -t utf8 --notest`"
        return f"{printable(name)}: a name that cannot be read as text; {hint}" if name else ""
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    short = f"{path[:60]}..." if error.errno == errno.ENAMETOOLONG else path
    reason = f"{short}: {error.strerror}" if short else str(error.strerror)
    if path and Path(path).is_relative_to(cache_folder()):
        return f"{reason}; {CACHE}"
    advice = ADVICE.get(error.errno, "")
    return f"{reason}; {advice}" if advice else ""


def _name_around(error: UnicodeEncodeError) -> str:
    """Return the name that holds a byte which is not UTF-8; empty if there is none."""
    if not "\ud800" <= error.object[error.start] <= "\udfff":
        return ""
    before, after = error.object[: error.start], error.object[error.start :]
    separators = str.maketrans(dict.fromkeys('",\n\t|<>·', "\n"))
    return (
        before.translate(separators).rpartition("\n")[2]
        + after.translate(separators).partition("\n")[0]
    )
