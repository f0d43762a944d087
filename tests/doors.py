"""Processes as other users of the machine see them: command lines and listening sockets."""

import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def secret_of(pids: Iterable[int]) -> str:
    """Return the token in the environment of processes, "" if they have none."""
    values = {
        entry.partition(b"=")[2].decode()
        for pid in pids
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if entry.startswith(b"RAY_AUTH_TOKEN=")
    }
    assert len(values) <= 1
    return values.pop() if values else ""


def listening(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Return address and port of each TCP socket that processes listen on."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    pairs = set()
    for family in ("tcp", "tcp6"):
        for line in Path("/proc/net", family).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                pairs.add((_readable(address), int(port, 16)))
    return pairs


def _sockets(pid: int) -> list[str]:
    links = []
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            links.append(os.readlink(path))
    except OSError:  # The process or one of its files has ended.
        pass
    return [link[8:-1] for link in links if link.startswith("socket:[")]


def _readable(text: str) -> str:
    numbers = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(numbers)}I", *numbers)
    if len(packed) == 16 and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        packed = packed[12:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
