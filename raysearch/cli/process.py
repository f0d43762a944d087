"""The process of a command, which ends although libraries would hold it up.

Once torch and Ray are loaded, Python takes seconds to take all objects apart, and a thread or a
destructor of a library can make it wait for ever.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

GRACE = 20.0
"""Seconds after the end of a command after which its process has ended, whatever threads do."""


def run_as_process(command: Callable[[], None]) -> None:
    """Run a command as all that this process does; the process ends soon after it.

    The functions that libraries registered with `atexit` run, if they come to an end. Objects are
    not taken apart: all results are on disk by then.

    Args:
        command: raises SystemExit to end with another exit code than 0.
    """
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
