"""The process of a command: its exit code, what it still does, and what cannot hold it up."""

import platform
import subprocess
import sys

import pytest

from raysearch.cli import main, process

BEGIN = f"""
import atexit, sys, threading
from {main.__name__} import app, main
import {main.__name__} as module
from {process.__name__} import run_as_process
import {process.__name__} as process
"""


def ended(code: str) -> tuple[int, str, str]:
    """Return the exit code, the output and the errors of a process."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        ("print('done')", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no result')", 1, "no result\n"),
    ],
)
def test_the_exit_code_is_that_of_the_command(command: str, code: int, err: str) -> None:
    out = "done\n" if "print" in command else ""
    assert ended(f"run_as_process(lambda: {command})") == (code, out, err)


@pytest.mark.parametrize(("error", "code"), [("ValueError", 1), ("KeyboardInterrupt", 130)])
def test_a_defect_shows_its_traceback(error: str, code: int) -> None:
    returned, _, err = ended(f"def fail():\n    raise {error}\n\nrun_as_process(fail)")
    assert (returned, err.splitlines()[-1]) == (code, error)
    assert err.startswith("Traceback")


def test_what_libraries_registered_runs_but_no_destructor() -> None:
    source = """
class Held:
    def __del__(self):
        threading.Event().wait()

held = Held()

def command():
    atexit.register(print, "closed")
    sys.exit(4)

run_as_process(command)
"""
    assert ended(source) == (4, "closed\n", "")


@pytest.mark.parametrize(
    "hold",
    [
        "threading.Thread(target=threading.Event().wait).start()",
        "atexit.register(threading.Event().wait)",
    ],
)
def test_a_stopped_run_ends_whatever_libraries_do(hold: str) -> None:
    source = f"""
from raysearch.errors import StoppedError

def stop():
    {hold}
    raise StoppedError("stopped with 1 of 50 trials done")

module.app, process.GRACE = stop, 0.5
main()
"""
    assert ended(source) == (130, "", "raysearch: stopped with 1 of 50 trials done\n")


FAULTS = """
import resource

def run_plainly(command):
    command()

def command():
    for _ in range(20):
        block = bytearray(50_000_000)
        del block
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

run_as_process(command)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    kept, plain = FAULTS, FAULTS.replace("run_as_process(", "run_plainly(")
    assert int(ended(kept)[1]) < int(ended(plain)[1]) / 3


def test_a_reader_that_has_gone_is_no_fault() -> None:
    source = """
import os

def command():
    print("x" * 100, end="")
    os.close(1)

run_as_process(command)
"""
    assert ended(source)[::2] == (0, "")
