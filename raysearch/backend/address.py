"""Address of a Ray cluster: the cluster that this machine is part of, and a check of an address.

Runs before Ray is imported, which takes longer than to refuse a wrong address. The note of an
address in /tmp is not believed without proof: every user of the machine can write it, and whoever
joins a cluster runs its code and sends it the token.
"""

import os
import pwd
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from raysearch.errors import UserError

ASKS = "it asks for a token"
"""Beginning of the reason why a cluster cannot be joined without its token."""


@dataclass(frozen=True)
class LocalRay:
    """The note of `ray start` about the cluster that this machine is part of.

    Attributes:
        file: of the note.
        address: of the cluster; empty if there is none, or none that is safe to join.
        doubt: why the note is not believed; empty if it is, or if there is no cluster.
    """

    file: Path
    address: str = ""
    doubt: str = ""


def find_local_ray() -> LocalRay:
    """Find the cluster that `ray start` or `ray up` of this user runs here."""
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # nosec B108
    try:
        text, doubt = _read_note(file)
    except FileNotFoundError:
        return LocalRay(file)
    except OSError as error:
        return LocalRay(file, doubt=f"cannot be read ({error.strerror})")
    if not re.fullmatch(r"[\w.:\[\]-]+:\d+", text):
        return LocalRay(file, doubt=doubt or "holds no HOST:PORT")
    # The file outlives a cluster that was killed.
    if _connection_failure(text) is not None:
        return LocalRay(file)
    if not doubt and not _runs_raylet(text):
        doubt = f"names {text}, for which no Ray of this user runs here"
    return LocalRay(file, doubt=doubt) if doubt else LocalRay(file, text)


def _read_note(file: Path) -> tuple[str, str]:
    """Return the text of a file, and why another user may have written it, or ""."""
    # A link may lead to a file of this user, and a pipe would never end.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "", "is no file"
        text = opened.read(300).decode("ascii", "replace").strip()
    if status.st_uid != os.geteuid():
        return text, f"belongs to {_user_name(status.st_uid)}"
    return text, "can be written by others" if status.st_mode & 0o022 else ""


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _runs_raylet(address: str) -> bool:
    """Return True if a Ray of this user runs on this machine, as part of the cluster.

    Ray makes the folder of its note writable for all, so who owns the note is no proof: the port of
    a cluster that was killed may have been taken by another user.
    """
    mark = f"--gcs-address={address}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            is_raylet = os.path.basename(arguments[0]) == b"raylet" and mark in arguments
            if is_raylet and process.stat().st_uid == os.geteuid():
                return True
        except OSError:  # The process has ended.
            continue
    return False


def local_ray() -> str:
    """Return the address of the cluster that this user runs here, for `--address auto`.

    Raises:
        UserError: there is none.
    """
    local = find_local_ray()
    if not local.address:
        reason = f"{local.file} {local.doubt}" if local.doubt else f"{local.file} names none"
        raise refusal("auto", reason)
    return local.address


def check_address(address: str) -> None:
    """Check that a cluster answers at an address, before anything is written.

    Raises:
        UserError: there is no answer.
    """
    if address and (reason := _connection_failure(address)) is not None:
        raise refusal(address, reason)


def _connection_failure(address: str) -> str | None:
    """Return why HOST:PORT does not answer; None if it does, or if only Ray can resolve it."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def answers(address: str) -> bool:
    """Return True if a server accepts connections at HOST:PORT."""
    return _connection_failure(address) is None


def refusal(address: str, reason: str) -> UserError:
    """Make the error of a cluster that cannot be joined."""
    hint = (
        "put the token that the cluster was started with into ~/.ray/auth_token or RAY_AUTH_TOKEN"
        if reason.startswith(ASKS) or "auth" in reason.lower()
        else "see `ray status`, or say --address local to use this machine alone"
    )
    return UserError(f"no Ray cluster can be joined at {address} ({reason}); {hint}")
