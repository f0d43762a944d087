"""Which Ray cluster is joined, what it holds, and what its machines must reach."""

from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from raysearch.backend import cluster
from raysearch.backend.cluster import find_missing_input
from raysearch.backend.resources import Cluster, Node
from raysearch.config import Options
from raysearch.data.source import Source
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.space import Space
from tests.records import make_manifest, make_space

BOOTSTRAP = """
head_node_type: head
max_workers: 3
available_node_types:
  head: {resources: {CPU: 2}}
  worker: {resources: {CPU: 8, GPU: 1}, max_workers: 5}
"""
"""A cluster file as Ray leaves it on the head."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """CPUs and GPUs of the machines that have started, besides one that was lost."""
    machines = [(2.0, 0.0)]

    def nodes() -> list[dict[str, object]]:
        there = [{"Alive": True, "Resources": {"CPU": c, "GPU": g}} for c, g in machines]
        return [*there, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]

    monkeypatch.setattr("ray.nodes", nodes)
    return machines


def test_machines_that_were_lost_do_not_count(
    home: Path, started: list[tuple[float, float]]
) -> None:
    assert cluster._nodes("127.0.0.1:6379") == (Node(2),)


def test_a_cluster_counts_the_machines_that_it_may_grow_to(
    home: Path, started: list[tuple[float, float]]
) -> None:
    (home / "ray_bootstrap_config.yaml").write_text(BOOTSTRAP)
    assert cluster._nodes("127.0.0.1:6379") == (Node(2), *[Node(8, 1)] * 3)
    # Ray on this machine alone does not grow.
    assert cluster._nodes("") == (Node(2),)
    # What was added by hand is there all the same.
    started[:] = [(64.0, 8.0)]
    assert cluster._nodes("127.0.0.1:6379") == (Node(64, 8),)


def test_a_cluster_without_a_dashboard_has_no_address_for_it() -> None:
    joined = Cluster("127.0.0.1:6379", "", (Node(2),))
    assert cluster.with_dashboard(joined, "").dashboard == ""
    assert cluster.with_dashboard(joined, "127.0.0.1:8265").dashboard == "http://127.0.0.1:8265"


@pytest.fixture
def context(tmp_path: Path) -> StudyContext:
    study = StudyFolder(UPath(tmp_path / "runs" / "valve"))
    study.create(make_manifest())
    (tmp_path / "data").mkdir()
    (tmp_path / "weights").touch()
    source = Source(tmp_path / "data", "valve", ("0",))
    return StudyContext(study.path, source, "data", pretrained(str(tmp_path / "weights")))


def pretrained(weights: str | bool) -> Space:
    return make_space().model_copy(update={"fixed": Options(pretrained=weights)})


def test_a_machine_that_reaches_everything(context: StudyContext) -> None:
    assert find_missing_input(context) == ""
    assert find_missing_input(replace(context, space=pretrained(True))) == ""


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("runs/valve/study.json", "--out {}/runs/valve/study.json"),
        ("weights", "pretrained: {}/weights"),
    ],
)
def test_a_file_that_is_missing_here_is_named(
    context: StudyContext, tmp_path: Path, missing: str, problem: str
) -> None:
    (tmp_path / missing).unlink()
    assert find_missing_input(context) == problem.format(tmp_path)


def test_recordings_that_are_missing_here_are_named(context: StudyContext, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()
    assert find_missing_input(context) == f"--data {tmp_path}/data"
