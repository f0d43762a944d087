"""The address of a Ray cluster: which one this machine is part of, and who answers there.

It is looked at before Ray is imported, which takes longer than to refuse a wrong address.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from raysearch.errors import UserError


def find_local_ray() -> str:
    """Address of the cluster that `ray start` or `ray up` made this machine a part of, else ""."""
    folder = os.environ.get("RAY_TMPDIR", "/tmp")
    with suppress(OSError):
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        # The file outlives a cluster that was killed.
        if _silence(address) is None:
            return address
    return ""


def check_address(address: str) -> None:
    """Looks whether somebody answers at a cluster's address, before anything is written.

    Raises:
        UserError: nobody does.
    """
    if address and (reason := _silence(address)) is not None:
        raise refusal(address, reason)


def _silence(address: str) -> str | None:
    """Return why nobody answers at HOST:PORT; None if Ray answers, or has to find the place."""
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
        "set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token"
        if "auth" in reason.lower()
        else "see `ray status`, or say --address local to use this machine alone"
    )
    return UserError(f"no Ray cluster can be joined at {address} ({reason}); {hint}")
