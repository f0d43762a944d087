"""Trial of what a run needs of a machine: folders that keep files, a home, names, sockets."""

import os
import pwd
import sys
from pathlib import Path

from raysearch.backend.private_folder import LONGEST, candidates, is_fit
from raysearch.cli.disks import Findings, folder_bytes, try_folder, try_space
from raysearch.cli.surroundings import is_text
from raysearch.errors import printable
from raysearch.storage import AnyPath, cache_folder, is_remote

RESULT_BYTES = 2 * 10**9
"""Space for the checkpoints and evidence of a search of a usual size."""
DECODED_BYTES = 25 * 10**9
"""Space for the decoded recordings of all seven machine types, with a margin."""
GROWTH = 3
"""Largest factor by which recordings grow when they are decoded, as those of FLAC."""


def decoded_bytes(data: AnyPath) -> int:
    """Return the bytes that decoded recordings take at most; an estimate on an object store."""
    if is_remote(data):
        return DECODED_BYTES
    return min(DECODED_BYTES, GROWTH * folder_bytes(Path(str(data))))


def try_data_names(data: AnyPath) -> Findings:
    """Find names of recordings that are no text."""
    if is_remote(data):
        return Findings()
    names = (
        os.path.join(above, n) for above, dirs, names in os.walk(str(data)) for n in dirs + names
    )
    wrong = [name for name in names if not is_text(name)]
    if not wrong:
        return Findings()
    return Findings(
        notes=(
            f"{len(wrong)} names in {data} are not UTF-8 and left out, the first "
            f"{printable(wrong[0])}; rename them, such as by `convmv -r -f latin1 -t utf8 "
            "--notest`",
        )
    )


def try_user() -> Findings:
    """Examine the home folder and the name of this process's user."""
    return _try_home() + _try_name()


def _try_home() -> Findings:
    try:
        home = Path.home()
    except RuntimeError:
        return Findings(
            (f"user {os.getuid()} has no home: set HOME to a folder that you can write to",)
        )
    if home == Path("/"):
        return Findings(("HOME is /: set HOME to a folder of yours, for caches and settings",))
    if not os.access(home, os.W_OK | os.X_OK):
        return Findings(
            (f"HOME is {home}, which cannot be written: set HOME to a folder of yours",)
        )
    return Findings()


def _try_name() -> Findings:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        name = os.environ.get("USER") or f"user{os.getuid()}"
        return Findings(
            notes=(f"user {os.getuid()} has no passwd entry: libraries see USER={name}",)
        )
    return Findings()


def try_temporary() -> Findings:
    """Examine the folders for the files of a Ray that is started on this machine."""
    notes = []
    *named, last = candidates()
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        folder = os.environ.get(variable)
        if folder and (reason := _unfit(Path(folder))):
            notes.append(
                f"{variable}={folder} {reason}: Ray keeps its files elsewhere; set {variable} to "
                "a short folder of yours, or unset it"
            )
    if any(is_fit(folder) for folder in (*named, last)):
        return Findings(notes=tuple(notes))
    return Findings(
        (f"{last} {_unfit(last)}: set RAY_TMPDIR to a short folder of yours",), tuple(notes)
    )


def _unfit(folder: Path) -> str:
    """Return why a folder takes no files of Ray; empty if it does."""
    if is_fit(folder):
        return ""
    if not folder.is_absolute():
        return "is a relative path"
    if not folder.is_dir():
        return "is no folder"
    size = len(os.fsencode(folder))
    if size > LONGEST:
        return f"has {size} bytes, and paths of sockets leave {LONGEST}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written"
    return "belongs to another user, or others can replace files in it"


def try_terminal() -> Findings:
    """Examine the encoding of what this command prints."""
    encoding = (sys.stdout.encoding or "").lower().replace("_", "-")
    if encoding in ("utf-8", "utf8"):
        return Findings()
    return Findings(
        notes=(
            f"this terminal speaks {encoding or 'no encoding'}: names such as λ are written as "
            "\\u03bb; set PYTHONIOENCODING=utf-8, or LC_ALL=C.UTF-8",
        )
    )


def try_machine(data: AnyPath, out: AnyPath | None) -> Findings:
    """Try all that a run needs of the machine that this runs on.

    Args:
        data: folder of the recordings.
        out: folder of the results; None if nothing can be written there.
    """
    findings = try_user() + try_data_names(data)
    if out is not None:
        findings += try_folder(out, "--out") + try_space(out, RESULT_BYTES, "--out", "checkpoints")
    try:
        cache = cache_folder()
    except RuntimeError:
        return findings  # There is no home, which is said already.
    needed = decoded_bytes(data)
    findings += try_folder(cache, "RAYSEARCH_CACHE")
    return findings + try_space(cache, needed, "RAYSEARCH_CACHE", "decoded recordings")
