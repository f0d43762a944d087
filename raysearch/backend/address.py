"""Address of a Ray cluster: the cluster that this machine is part of, and a check of an address.

Runs before Ray is imported, which takes longer than to refuse a wrong address.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from raysearch.errors import UserError

ASKS = "it asks for a token"
"""Beginning of the reason why a cluster cannot be joined without its token."""


def find_local_ray() -> str:
    """Return the address of the cluster that `ray start` or `ray up` runs here, or ""."""
    folder = os.environ.get("RAY_TMPDIR", "/tmp")
    with suppress(OSError):
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        # The file outlives a cluster that was killed.
        if _connection_failure(address) is None:
            return address
    return ""


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


def refusal(address: str, reason: str) -> UserError:
    """Make the error of a cluster that cannot be joined."""
    hint = (
        "put the token that the cluster was started with into ~/.ray/auth_token or RAY_AUTH_TOKEN"
        if reason.startswith(ASKS) or "auth" in reason.lower()
        else "see `ray status`, or say --address local to use this machine alone"
    )
    return UserError(f"no Ray cluster can be joined at {address} ({reason}); {hint}")
