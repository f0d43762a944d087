"""What a process keeps whatever it imports and runs of raysearch."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from upath import UPath

from raysearch import storage
from raysearch.backend.environment import START, environment, tune_storage

PROGRAM = """
import gc, logging, os, pkgutil, signal, sys, warnings

LOGGERS = ("", "ray", "optuna", "ray.dashboard.modules.job.sdk")

def state():
    return {
        **{f"variable {name}": value for name, value in os.environ.items()},
        **{f"signal {n}": signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)},
        **{f"logger {name}": logging.getLogger(name).level for name in LOGGERS},
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "warnings": [str(each) for each in warnings.filters],
    }

def print_changes(before):
    after = state()
    print(*(key for key in before | after if before.get(key) != after.get(key)), sep="; ")

before = state()
import raysearch.model.eager
print_changes(before)

# The rest is to be imported in half the time.
raysearch.model.eager.postpone_compiler()
gc.disable()

# What these change of a process is not raysearch's.
import matplotlib.pyplot, optuna, plotly.offline, ray.train.torch, sklearn.mixture
import timm, torch, torchaudio, torchvision
from ray import job_submission, tune

gc.enable()
before = state()
for module in pkgutil.walk_packages(raysearch.__path__, "raysearch."):
    if module.name not in ("raysearch.__main__", "raysearch.backend.mlflow_runs"):
        __import__(module.name)
print_changes(before)
"""


def test_a_value_is_set_for_a_block_and_the_user_s_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_KEPT", "mine")
    monkeypatch.delenv("RAYSEARCH_SET", raising=False)
    before = dict(os.environ)
    with environment({"RAYSEARCH_KEPT": "a", "RAYSEARCH_SET": "b"}):
        assert (os.environ["RAYSEARCH_KEPT"], os.environ["RAYSEARCH_SET"]) == ("mine", "b")
    assert dict(os.environ) == before


def test_an_import_changes_nothing_of_a_process(tmp_path: Path) -> None:
    """Neither environment, signal handlers, garbage collection, logging nor warnings."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_package_is_imported_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import raysearch, sys; print(*sys.modules)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert not {"torch", "ray", "optuna", "pandas", "numpy"} & set(done.stdout.split())


def test_ray_gets_a_path_and_a_file_system(folder: UPath) -> None:
    path, files = tune_storage(folder)
    if not storage.is_remote(folder):
        assert (path, files) == (str(folder), None)
        return
    with files.open_output_stream(f"{path}/sub/a") as stream:
        stream.write(b"here")
    assert (folder / "sub" / "a").read_text() == "here"


FAULTS = """
import resource, threading

def take():
    for _ in range(20):
        block = bytearray(100_000_000)
        del block

thread = threading.Thread(target=take)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="variables of glibc")
def test_a_trial_uses_freed_memory_again_without_asking_the_system() -> None:
    def faults() -> int:
        return int(subprocess.check_output([sys.executable, "-c", FAULTS], text=True))

    plain = faults()
    with environment(START):
        assert faults() < plain / 3
