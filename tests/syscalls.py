"""A file system without hard links or locks: a process whose system calls fail, by seccomp."""

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Mapping

import pytest

NO_LINKS = {86: errno.EPERM, 265: errno.EPERM}
"""link and linkat, as on exFAT."""
NO_LOCKS = {73: errno.ENOLCK}
"""flock, as on some NFS and SMB."""

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FAIL, ALLOW = 0x00050000, 0x7FFF0000


def run_without(
    calls: Mapping[int, int], code: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process whose system calls fail, with an error number each."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("numbers of system calls are those of Linux on x86-64")
    return subprocess.run(
        [sys.executable, "-c", f"{PROLOGUE}{dict(calls)!r})\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


PROLOGUE = "from tests.syscalls import deny\ndeny("


def deny(calls: Mapping[int, int]) -> None:
    """Let system calls of this process fail, from now on."""
    steps = [struct.pack("HBBI", LOAD, 0, 0, 0)]
    for number, error in calls.items():
        steps.append(struct.pack("HBBI", JUMP_IF_EQUAL, 0, 1, number))
        steps.append(struct.pack("HBBI", RETURN, 0, 0, FAIL | error))
    steps.append(struct.pack("HBBI", RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    refused |= libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    assert not refused, os.strerror(ctypes.get_errno())
