"""Trials of several workers that are given up free all they held, on a cluster that stays.

Only a cluster that was there before and stays shows what a search leaves on it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Started, descendants, table, title, write_space
from tests.remote.head import Head
from tests.remote.head import head as head  # a fixture
from tests.remote.head import ssh as ssh  # another

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 4, 4

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


def environment(head: Head) -> dict[str, str]:
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.home / "token")}


def test_trials_of_two_workers_under_asha_leave_nothing_behind(
    tmp_path: Path,
    demo_data: Path,
    head: Head,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment(head).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "data").symlink_to(demo_data)
    write_space(
        tmp_path / "tiny.yaml",
        search={"lr": {"low": 1e-5, "high": 1e-2, "log": True}},
        fixed={"epochs": EPOCHS},
        strategy={"trials": TRIALS, "scheduler": "asha", "grace": 1},
    )
    command = ("run", "--machine", "valve", "--space", "tiny.yaml", "--workers-per-trial", 2)
    started = Started([*command, "--address", head.address, "--no-final", "--no-report"], tmp_path)
    ended = started.wait(540)
    assert ended.code == 0, ended
    assert f"joined the Ray cluster at {head.address}" in ended.out

    folder = tmp_path / "runs" / "valve"
    records = [json.loads(path.read_text()) for path in sorted((folder / "records").iterdir())]
    states = [record["state"] for record in records]
    assert len(states) == TRIALS
    assert set(states) == {"COMPLETE", "PRUNED"}
    for record in records:
        epochs = [epoch["epoch"] for epoch in record["history"]]
        assert epochs == list(range(1, len(epochs) + 1))
        assert (len(epochs) == EPOCHS) == (record["state"] == "COMPLETE")
    assert {row["state"] for row in table(folder / "trials.csv")} == {"COMPLETE", "PRUNED"}

    asked = [sys.executable, "-c", LEFT, head.address, head.url]
    answer = subprocess.run(asked, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    left = json.loads(answer.stdout.splitlines()[-1])
    assert left == {"actors": [], "groups": [], "free": 2}
    ours = [title(pid) for pid in descendants(head.pid)]
    assert not [name for name in ours if name.startswith("ray::RayTrainWorker")]
