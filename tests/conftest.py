"""Fixtures of all tests: environment, data set, finished study and S3 server."""

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from raysearch.model.eager import postpone_compiler
from tests.command import Study
from tests.s3 import BUCKET, S3, serve_s3
from tests.shared import shared_data, shared_study

# Set before the import of torch and ray, which read the variables once. Tests are small, so more
# threads than cores only slow them down.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Background commands of a shell ignore Ctrl-C, and so do their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As raysearch does before it imports timm, which some tests import themselves.
postpone_compiler()


LONGEST = (
    *("cluster/test_search.py", "docs/test_commands.py", "faults/test_workers.py", "test_run.py"),
    *("remote/test_jobs.py", "test_s3.py", "faults/test_kill.py"),
)
"""Files whose slow tests take minutes, the longest first."""

LONGER = (
    *("training/test_train.py", "pipeline/test_finish.py", "search/test_sampler.py"),
    *("backend/test_worker.py", "backend/test_environment.py", "study/test_confidence.py"),
    *("training/test_trial.py", "report/html/test_page.py", "test_storage.py"),
)
"""Files whose fast tests take more than ten seconds, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first, so that a failure shows early, and of each kind the longest files.

    Otherwise one process would run them long after the others are idle.
    """
    tests = Path(__file__).parent
    places = {
        slow: {tests / name: position for position, name in enumerate(names)}
        for slow, names in ((False, LONGER), (True, LONGEST))
    }

    def order(item: pytest.Item) -> tuple[bool, int]:
        slow = item.get_closest_marker("slow") is not None
        return slow, places[slow].get(item.path, len(places[slow]))

    items.sort(key=order)


# Imported modules stay, and garbage collection among them takes a tenth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection, which takes half a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the decoded clips of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("RAYSEARCH_CACHE", str(cache))
        yield cache


@pytest.fixture(autouse=True, scope="session")
def _ray_folder() -> Iterator[Path]:
    """Keep the clusters of other processes, and the user's own, from being found and joined."""
    # Paths of sockets are short. A killed process of Ray may still write while its folder goes.
    with (
        tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo data: valve, fan and pump, six IDs. Read only."""
    return shared_data(tmp_path_factory)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Study:
    """Return a search with finalists, its final test and its report. Read only."""
    return shared_study(tmp_path_factory, demo_data)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Start a real S3 server with an empty bucket."""
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """Return the S3 server, with its login in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """Return a folder of this test that does not exist yet, on disk and on an object store."""
    from raysearch.storage import to_path

    if request.param == "local":
        return to_path(tmp_path / "new" / "run 1")
    request.getfixturevalue("s3")
    return to_path(f"s3://{BUCKET}/{tmp_path.name}/new/run 1")
