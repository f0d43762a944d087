"""Tests of a mutant: run in a forked process, whose parent has imported the large libraries.

A fork costs nothing, and the import of torch, scikit-learn and Optuna takes longer than most tests.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LIBRARIES = (
    *("torch", "torch.optim", "torchaudio", "timm", "sklearn.mixture", "sklearn.neighbors"),
    *("sklearn.covariance", "sklearn.decomposition", "sklearn.svm", "sklearn.manifold"),
    *(
        "scipy.stats",
        "scipy.optimize",
        "pandas",
        "optuna",
        "pydantic",
        "yaml",
        "upath",
        "safetensors",
    ),
    *("hypothesis", "hypothesis.extra.numpy", "soundfile", "soxr", "rich", "filelock", "coverage"),
)
"""Libraries that are imported before the first fork."""

COPIED = ("raysearch", "tests", "analysis", "search_spaces", "pyproject.toml", "README.md", "docs")
"""What the tests of a room need of the repository."""

OPTIONS = (
    *("-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:cov"),
    *("--hypothesis-seed=0", "--timeout=60", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


def import_libraries() -> None:
    """Import the libraries of the tests, with a thread each."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    for name in LIBRARIES:
        __import__(name)


def copy_repository(repository: Path, folder: Path) -> None:
    """Copy what the tests need into a new folder, with its bytecode."""
    folder.mkdir()
    for name in COPIED:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copy2(source, folder / name)


@dataclass
class Watch:
    """A plugin of pytest that chooses tests, and notes how long they take and which fails.

    Attributes:
        order: IDs of the tests to run, in their order; None for all tests.
        seconds: duration of each test with its fixtures.
        failed: IDs of failed tests.
    """

    order: list[str] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the chosen tests, in their order."""
        if self.order is not None:
            rank = {name: position for position, name in enumerate(self.order)}
            items[:] = sorted(
                (item for item in items if item.nodeid in rank), key=lambda i: rank[i.nodeid]
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the duration of a phase of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)


def run_tests(tree: Path, tests: Iterable[str], watch: Watch, answer: Path) -> None:
    """Run tests in this process, which is a fork, and end it.

    Args:
        tree: copy of the repository.
        tests: files and folders of tests, relative to the tree.
        watch: the choice among them.
        answer: JSON file of exit code, durations and failed tests; what the tests print is beside.
    """
    code = 70
    try:
        os.setsid()
        output = os.open(answer.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(tree)
        # Processes that the tests start shall import the copy as well.
        os.environ["PYTHONPATH"] = os.fspath(tree)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path.insert(0, os.fspath(tree))
        scratch = answer.with_suffix(".tmp")
        options = [*OPTIONS, f"--rootdir={tree}", f"--basetemp={scratch}", *tests]
        code = int(pytest.main(options, plugins=[watch]))
        shutil.rmtree(scratch, ignore_errors=True)
        answer.write_text(
            json.dumps({"code": code, "seconds": watch.seconds, "failed": watch.failed})
        )
    finally:
        os._exit(code)


def read_answer(answer: Path) -> Mapping[str, Any] | None:
    """Return the answer of a process, or None if it ended without one."""
    try:
        content: Mapping[str, Any] = json.loads(answer.read_text())
    except (OSError, ValueError):
        return None
    return content
