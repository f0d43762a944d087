"""Owner of a port of this machine: a token is sent to no process of another user.

A port that was free a moment ago, or that a tunnel has lost, may be taken by every user.
"""

import os
import shutil
import subprocess
from pathlib import Path

_LISTENS = "0A"
_PROCESSES = Path("/proc/net")


def check_listener(port: int) -> bool:
    """Return True if this user listens on a port of 127.0.0.1; False if nobody does.

    Raises:
        PermissionError: another user does, or nobody can tell who does.
    """
    owners = _owners(port)
    if owners - {os.geteuid()}:
        raise PermissionError(f"port {port} of this machine was taken by another user")
    return bool(owners)


def _owners(port: int) -> set[int]:
    """Return the numbers of the users who listen on a port of the loopback."""
    tables = [_PROCESSES / name for name in ("tcp", "tcp6")]
    if not any(table.exists() for table in tables):
        return _owners_by_lsof(port)
    # Addresses are in hexadecimal, and those of other interfaces do not get what goes to 127.0.0.1.
    loopback = ("0100007F", "00000000", "0" * 32, "0000000000000000FFFF00000100007F")
    owners = set()
    for table in tables:
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _LISTENS and address in loopback and int(number, 16) == port:
                owners.add(int(fields[7]))
    return owners


def _owners_by_lsof(port: int) -> set[int]:
    """Return the users as `_owners`, on a system without /proc, such as macOS."""
    program = shutil.which("lsof", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise PermissionError("the owner of a port cannot be determined: install lsof")
    command = [program, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fu"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {int(line[1:]) for line in text.splitlines() if line.startswith("u")}
