"""A search over several machines: the same as on one, also when a machine or the driver is lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raysearch.storage import to_path
from raysearch.training.state import read_progress
from tests.cluster.hosts import Host
from tests.cluster.up import RayCluster
from tests.command import COMMAND, Started, record_files, timeless, write_space

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 4, 12
PATIENCE = 900
"""Seconds after which a search counts as hanging."""


@dataclass(frozen=True)
class Search:
    """A search that was started on the cluster."""

    folder: Path
    process: subprocess.Popen[bytes]
    output: Path

    def wait(self) -> None:
        """Waits for its end, which must be a good one."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end in {PATIENCE} s:\n{self.text}") from None
        assert self.process.returncode == 0, self.text

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that it brings about."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended before:\n{self.text}"
            assert time.monotonic() < end, f"it never happened:\n{self.text}"
            time.sleep(0.01)

    @property
    def text(self) -> str:
        """Output so far."""
        return self.output.read_text()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its trials' records, in their order."""
        return [json.loads(content) for content in record_files(self.folder).values()]

    def in_a_trial(self, host: Host) -> str:
        """The encoder that a host trains and has a checkpoint of; empty if there is none."""
        prefix = f"{self.folder}/encoders/"
        for file in open_files(host):
            if file.startswith(prefix):
                encoder = file.removeprefix(prefix).partition("/")[0]
                if (self.folder / "encoders" / encoder / "last.safetensors").exists():
                    return encoder
        return ""


def open_files(host: Host) -> list[str]:
    """Paths of the files that trials on a host hold open."""
    paths = []
    for pid, line in host.processes().items():
        if not line.startswith("ray::ImplicitFunc"):
            continue
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    paths.append(os.readlink(link))
    return paths


def begin(cluster: RayCluster, name: str) -> Search:
    """Starts a search, or resumes it, from outside of the cluster."""
    output = _output(cluster, name)
    # Recordings and results lie where the cluster file says.
    space = cluster.shared / "tiny.yaml"
    options = ["--cluster", str(cluster.file), "--space", str(space), "--name", name, "--no-report"]
    with output.open("w") as file:
        process = subprocess.Popen(
            [COMMAND, "run", "--machine", "valve", *options],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=cluster.environment,
            cwd=cluster.environment["HOME"],
        )
    return Search(cluster.shared / "runs" / name, process, output)


def begin_on_the_head(cluster: RayCluster, name: str) -> Search:
    """Starts a search as somebody does who is logged in on the head."""
    output = _output(cluster, name)
    space = f"{cluster.shared}/tiny.yaml"
    command = f"raysearch run --machine valve --space {space} --name {name} --no-report"
    process = cluster.head.start(command, output)
    return Search(cluster.shared / "runs" / name, process, output)


def _output(cluster: RayCluster, name: str) -> Path:
    return cluster.shared / f"{name}-{time.monotonic_ns()}.txt"


def kill_driver(cluster: RayCluster) -> None:
    """Kills the process that schedules trials, and nothing else."""
    drivers = [pid for pid, line in cluster.head.processes().items() if "raysearch run" in line]
    assert drivers
    for pid in drivers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ready(cluster: RayCluster, demo_data: Path) -> RayCluster:
    """The cluster, with recordings and a search space in its shared folder."""
    subprocess.run(["cp", "-r", str(demo_data), str(cluster.shared / "data")], check=True)
    changes = {"fixed": {"epochs": EPOCHS}, "strategy": {"trials": TRIALS}}
    write_space(cluster.shared / "tiny.yaml", **changes)
    return cluster


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, ready: RayCluster) -> Path:
    """Folder of the same search on this machine alone."""
    home = tmp_path_factory.mktemp("alone")
    data, space = ready.shared / "data", ready.shared / "tiny.yaml"
    command = ("run", "--machine", "valve", "--data", data, "--space", space)
    given = ("--cpus-per-trial", 1, "--concurrent", 2, "--no-dashboard", "--no-report")
    ended = Started((*command, *given), home).wait()
    assert ended.code == 0, ended
    return home / "runs" / "valve"


def check_result(search: Search, alone: Path) -> None:
    """Every trial is there once and says what it says on one machine."""
    records = search.records
    assert [record["proposal"]["number"] for record in records] == list(range(TRIALS))
    assert {record["state"] for record in records} == {"COMPLETE"}
    for record in records:
        assert [epoch["epoch"] for epoch in record["history"]] == list(range(1, EPOCHS + 1))
    assert timeless(search.folder / "trials.csv") == timeless(alone / "trials.csv")
    for name in ("best_config.csv", "frozen.json", "final_test.csv"):
        assert (search.folder / name).read_bytes() == (alone / name).read_bytes()


def test_a_lost_machine_loses_no_trial(ready: RayCluster, alone: Path) -> None:
    search = begin_on_the_head(ready, "lost")
    hit: dict[str, Host] = {}

    def in_the_middle() -> bool:
        hit.update({search.in_a_trial(host): host for host in ready.hosts.hosts[1:]})
        return bool(hit.keys() - {""})

    search.wait_until(in_the_middle)
    (encoder, host), *_ = ((encoder, host) for encoder, host in hit.items() if encoder)
    before = record_files(search.folder)
    host.kill()
    search.wait()
    assert f"joined the Ray cluster at {ready.head.address}:6379 (3 machines)" in search.text
    assert f"lost on {host.name} (" in search.text
    check_result(search, alone)
    assert before.items() <= record_files(search.folder).items()
    (record,) = (record for record in search.records if record["encoder"] == encoder)
    assert record["host"] != host.name
    assert 1 <= record["resumes"][0] < EPOCHS
    others = [record for record in search.records if record["encoder"] != encoder]
    assert not any(record["resumes"] for record in others)
    # What the cluster file promises: the machine is taken back when it is there again.
    host.boot()
    ready.wait_for(3)


def test_a_lost_driver_is_restarted_by_the_same_command(ready: RayCluster, alone: Path) -> None:
    search = begin(ready, "driver")
    search.wait_until(lambda: len(search.records) >= 1 and trains(search))
    before: Mapping[str, bytes] = record_files(search.folder)
    kill_driver(ready)
    assert search.process.wait(30) != 0
    assert len(record_files(search.folder)) < TRIALS
    again = begin(ready, "driver")
    again.wait()
    assert f"of {TRIALS} trials are done" in again.text
    check_result(again, alone)
    assert before.items() <= record_files(again.folder).items()
    assert any(record["resumes"] for record in again.records)
    # No machine was lost: trials ran on several.
    hosts = {record["host"] for record in again.records}
    assert len(hosts) >= 2
    assert hosts <= {host.name for host in ready.hosts.hosts}


def trains(search: Search) -> bool:
    """Return True if a trial has a checkpoint and at least half of its epochs left."""
    folders = [path.parent for path in search.folder.glob("encoders/*/last.safetensors")]
    epochs = [len(read_progress(to_path(folder))[0]) for folder in folders]
    return any(1 <= count <= EPOCHS // 2 for count in epochs)


def test_results_are_fetched_and_nodes_examined_from_outside(
    ready: RayCluster, alone: Path, tmp_path: Path
) -> None:
    def outside(*arguments: object) -> str:
        command = [str(part) for part in (COMMAND, *arguments, "--cluster", ready.file)]
        ended = subprocess.run(
            command, env=ready.environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    # The latest run is that of the last test.
    outside("fetch")
    fetched = tmp_path / "runs" / "driver"
    for name in ("best_config.csv", "frozen.json", "final_test.csv"):
        assert (fetched / name).read_bytes() == (alone / name).read_bytes()
    assert (fetched / "detector" / "detector.json").is_file()
    assert not (fetched / "encoders").exists()
    examined = outside("doctor")
    assert all(f"{host.name} " in examined for host in ready.hosts.hosts)
    assert "3 machines examined" in examined
