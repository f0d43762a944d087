"""The process of a command: how torch computes in it, and its end."""

import atexit
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

GRACE = 20.0
"""Seconds after the end of a command after which its process has ended, whatever threads do."""

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Numbers of glibc's settings of the memory allocator, from malloc.h."""
KEPT = 2**31 - 1
"""Bytes of freed memory that a process keeps, the most that fits the setting."""


def run_as_process(command: Callable[[], None]) -> None:
    """Run a command as all that this process does; the process ends soon after it.

    The functions that libraries registered with `atexit` run, if they come to an end. Objects are
    not taken apart, which takes seconds once torch and Ray are loaded, and which a destructor of a
    library can hold up for ever. All results are on disk by then.

    Args:
        command: raises SystemExit to end with another exit code than 0.
    """
    _prepare()
    code = 1
    # The function that was registered first runs last.
    atexit.register(lambda: _leave(code))
    try:
        command()
        code = 0
    except SystemExit as end:
        code = _code(end)
        raise
    except KeyboardInterrupt:
        code = 130
        raise
    finally:
        timer = threading.Timer(GRACE, _leave, (code,))
        timer.daemon = True
        timer.start()


def _prepare() -> None:
    """Prepare this process for torch, before torch is imported.

    Ray's processes get the same from `backend.environment`, where the reasons are.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # glibc read its variables when the process started; other libraries of C lack the function.
    allocator = getattr(ctypes.CDLL(None), "mallopt", None)
    if allocator is not None:
        allocator(_MMAP_MAX, 0)
        allocator(_TRIM_THRESHOLD, KEPT)


def _code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    # Python prints anything else, and the exit code is 1.
    return end.code if isinstance(end.code, int) else 1


def _leave(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        # None without a terminal on some systems; a reader such as `head` may have gone.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
