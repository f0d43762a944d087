"""Trials of several workers: as exact as those of one, and they outlive the loss of one.

Only a whole run has workers that Ray Train starts, and starts again. Only a cluster that was there
before and stays shows what pruned trials leave on it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from raysearch.data.synthetic.demo import DemoSize, write_demo
from tests.command import (
    Ended,
    Started,
    descendants,
    raysearch,
    title,
    trial_table,
    write_space,
)
from tests.doors import listening
from tests.remote.head import Head
from tests.remote.head import head as head  # a fixture
from tests.remote.head import ssh as ssh  # another

pytestmark = pytest.mark.slow

TRIALS, EPOCHS, RUNG = 2, 6, 2
RUN = (
    *("run", "--machine", "valve", "--space", "tiny.yaml"),
    *("--no-final", "--no-dashboard", "--no-report"),
)

# Asked in a process of its own: a test's process keeps no connection to a cluster.
LEFT = """
import json, logging, sys, time
import ray
from ray.util.state import list_actors, list_placement_groups
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
end = time.monotonic() + 30
while True:
    actors = [a.class_name for a in list_actors(sys.argv[2], limit=1000) if a.state != "DEAD"]
    # Ray Train's own, one for all.
    actors = [name for name in actors if name != "_AutoscalingCoordinatorActor"]
    groups = [g.name for g in list_placement_groups(sys.argv[2]) if g.state != "REMOVED"]
    free = ray.available_resources().get("CPU")
    if (not actors and not groups and free == 2) or time.monotonic() > end:
        break
    time.sleep(0.5)
print(json.dumps({"actors": actors, "groups": groups, "free": free}))
"""


def record(folder: Path, number: int = 0) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "records" / f"{number:04d}.json").read_text())
    return content


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    home = tmp_path_factory.mktemp("workers")
    # More test clips than elsewhere: with a few, one swapped pair moves an AUC by a tenth.
    write_demo(home / "data", DemoSize(12, 40, 3.0), machines=("valve",))
    for part, machine in product(("dev_data", "eval_data"), ("fan", "pump")):
        folder = Path(part, machine)
        shutil.copytree(demo_data / folder, home / "data" / folder, copy_function=os.link)
    write_space(
        home / "tiny.yaml",
        # The first trial learns; the second does not and is pruned.
        search={"lr": [1e-3, 1e-9], "batch_size": 16, "lambda": 1.0},
        fixed={"epochs": EPOCHS},
        strategy={"trials": TRIALS, "scheduler": "asha", "metric": "loss", "grace": RUNG},
    )
    return home


@pytest.fixture(scope="module")
def alone(home: Path) -> Path:
    """The first trial, trained by one process on a Ray of its own."""
    with pytest.MonkeyPatch.context() as patch:
        # What leads to the cluster of other tests.
        for name in ("RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        ended = raysearch(*RUN, "--name", "alone", "--trials", 1, folder=home)
    assert ended.code == 0, ended
    return home / "runs" / "alone"


@pytest.fixture(scope="module")
def on_the_head(head: Head) -> Iterator[Head]:
    """A cluster that lets this process in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(head.home / "token"))
        yield head


def workers(pid: int) -> list[int]:
    """The workers of a trial, among the processes that a cluster started."""
    return [child for child in descendants(pid) if title(child).startswith("ray::RayTrainWorker")]


@pytest.fixture(scope="module")
def ended(home: Path, on_the_head: Head) -> Ended:
    """A search with trials of two workers, one of which was killed in the middle of the first."""
    folder, address = home / "runs" / "together", on_the_head.address
    options = ("--name", "together", "--workers-per-trial", 2, "--address", address)
    started = Started([*RUN, *options], home)
    started.wait_until(lambda: any(folder.glob("encoders/*/last.safetensors")))
    pids = workers(on_the_head.pid)
    assert len(pids) == 2, pids
    os.kill(pids[-1], signal.SIGKILL)
    return started.wait()


@pytest.fixture(scope="module")
def together(home: Path, ended: Ended) -> Path:
    assert ended.code == 0, ended
    return home / "runs" / "together"


def test_a_search_joins_a_cluster(ended: Ended, on_the_head: Head) -> None:
    assert ended.code == 0, ended
    assert f"joined the Ray cluster at {on_the_head.address}" in ended.out


def test_a_trial_resumes_when_one_of_its_workers_was_killed(together: Path) -> None:
    trial_record = record(together)
    assert trial_record["state"] == "COMPLETE"
    assert len(trial_record["resumes"]) == 1
    assert 1 <= trial_record["resumes"][0] < EPOCHS
    assert [epoch["epoch"] for epoch in trial_record["history"]] == list(range(1, EPOCHS + 1))


def test_workers_of_one_machine_listen_on_the_loopback_alone(home: Path) -> None:
    started = Started([*RUN, "--name", "closed", "--workers-per-trial", 2], home)
    started.wait_until(lambda: any(home.glob("runs/closed/encoders/*/last.safetensors")))
    pids = workers(started.process.pid)
    assert len(pids) == 2
    ports = listening([started.process.pid, *descendants(started.process.pid)])
    started.kill()
    assert {address for address, _ in ports} == {"127.0.0.1"}


def test_two_workers_find_what_one_finds(alone: Path, together: Path) -> None:
    single, pair = record(alone), record(together)
    assert single["proposal"]["lr"] == 1e-3
    assert pair["encoder"] == single["encoder"]
    for a, b in zip(single["history"], pair["history"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=0.01)
        assert b["val_loss"] == pytest.approx(a["val_loss"], rel=0.01)
    for a, b in zip(single["rows"], pair["rows"], strict=True):
        assert (b["inlier"], b["p"], b["error"]) == (a["inlier"], a["p"], a["error"])
        if a["val_score"] is not None:
            assert b["val_score"] == pytest.approx(a["val_score"], abs=0.01)


def test_the_tables_have_the_same_columns(alone: Path, together: Path) -> None:
    single, pair = trial_table(alone), trial_table(together)
    assert list(single[0]) == list(pair[0])
    assert len({tuple(row) for row in (*single, *pair)}) == 1


def test_each_trial_comes_to_its_rung_or_its_end(together: Path) -> None:
    assert len(list((together / "records").iterdir())) == TRIALS
    records = [record(together, number) for number in range(TRIALS)]
    assert {trial_record["state"] for trial_record in records} == {"COMPLETE", "PRUNED"}
    for trial_record in records:
        epochs = [epoch["epoch"] for epoch in trial_record["history"]]
        assert epochs == list(range(1, len(epochs) + 1))
        # Ray Train passes a report on while its workers go on: they may be ahead of the pruner.
        ends = {EPOCHS} if trial_record["state"] == "COMPLETE" else set(range(RUNG, EPOCHS))
        assert len(epochs) in ends
    assert {row["state"] for row in trial_table(together)} == {"COMPLETE", "PRUNED"}


def test_pruned_trials_leave_nothing_on_the_cluster(together: Path, on_the_head: Head) -> None:
    command = [sys.executable, "-c", LEFT, on_the_head.address, on_the_head.url]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    left = json.loads(answer.stdout.splitlines()[-1])
    assert left == {"actors": [], "groups": [], "free": 2}
    assert not workers(on_the_head.pid)
