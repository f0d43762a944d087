"""What fails on machines is tried again, and is no failure of a trial.

Only a real search over real storage shows what the errors of its processes become.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import raysearch
from raysearch.errors import MachineError
from raysearch.search import retries
from tests.command import (
    Ended,
    Started,
    begin,
    descendants,
    link,
    openings,
    record_files,
    settle,
    title,
    trial_table,
    write_space,
)

pytestmark = pytest.mark.slow

TRIALS = 3


@pytest.fixture
def home(tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a search whose processes decode recordings by themselves."""
    home = settle(tmp_path / "home", demo_data, link)
    write_space(
        home / "tiny.yaml", fixed={"epochs": 1}, strategy={"trials": TRIALS, "finalists": "none"}
    )
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    return home


def states(home: Path) -> list[str]:
    return [json.loads(content)["state"] for content in record_files(home / "runs/valve").values()]


def test_data_that_is_away_for_a_while_costs_no_trial(home: Path) -> None:
    started = begin(home, "--no-report")
    started.wait_until(lambda: len(states(home)) >= 1)
    (home / "data").rename(home / "away")
    # A process that has the recordings open would not miss them.
    for pid in descendants(started.process.pid):
        if title(pid).startswith("ray::ImplicitFunc"):
            os.kill(pid, signal.SIGKILL)
    started.wait_until(lambda: "no data set" in started.out.read_text())
    assert "FAIL" not in states(home)
    (home / "away").rename(home / "data")
    ended = started.wait()
    assert ended.code == 0, ended
    assert states(home) == ["COMPLETE"] * TRIALS
    assert len(openings(home / "runs/valve")) == 1


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The folder of the results, on a disk of a few megabytes."""
    runs = home / "runs"
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(runs)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield runs
    subprocess.run(["umount", str(runs)], check=True)


def fill(disk: Path, left: int) -> None:
    """Fill a disk up to some bytes."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - left))


def test_a_full_disk_costs_no_trial(home: Path, small_disk: Path) -> None:
    started = begin(home, "--no-report")
    started.wait_until(lambda: len(states(home)) >= 1)
    fill(small_disk, left=100_000)
    started.wait_until(lambda: "No space left on device" in started.out.read_text())
    (small_disk / "ballast").unlink()
    ended = started.wait()
    assert ended.code == 0, ended
    assert states(home) == ["COMPLETE"] * TRIALS


class SeparateDisks:
    """Disks for parts of a study, so that its driver meets a full one and its trials do not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disks: list[Path] = []
        self.bound: list[Path] = []

    def move(self, part: Path, size: str) -> None:
        """Move a folder to a disk of its own."""
        disk = self.folder / part.name
        disk.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk)
        self.disks.append(disk)
        shutil.copytree(part, disk, dirs_exist_ok=True)
        self._mount("--bind", disk, part)
        self.bound.append(part)

    def enlarge(self, part: Path) -> None:
        """Make room on the disk of a folder."""
        self._mount("-o", "remount,size=8m", self.folder / part.name)

    def unmount(self) -> None:
        """Take all disks away."""
        for path in [*reversed(self.bound), *reversed(self.disks)]:
            subprocess.run(["umount", "--lazy", str(path)], check=True)

    def _mount(self, *arguments: object) -> None:
        subprocess.run(["mount", *map(str, arguments)], check=True)


@pytest.fixture
def disks(home: Path, small_disk: Path) -> Iterator[SeparateDisks]:
    separate = SeparateDisks(home / "disks")
    try:
        yield separate
    finally:
        separate.unmount()


def check_full(ended: Ended, folder: Path) -> None:
    """Check the line of a run whose driver could not write, and that no trial paid for it."""
    assert ended.code == 1, ended
    assert "No space left on device; the disk is full; make room" in ended.err
    assert ended.err.startswith("raysearch: ")
    assert ended.err.endswith("the same command goes on once that is mended\n")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.out
    assert {json.loads(c)["state"] for c in record_files(folder).values()} <= {"COMPLETE"}
    # What was half-written is gone.
    assert not list(folder.glob(".*.tmp")) + list(folder.glob(".*.csv.*"))


def test_a_disk_too_full_for_the_driver_ends_the_run_in_one_line(
    home: Path, small_disk: Path, disks: SeparateDisks
) -> None:
    folder, ballast = small_disk / "valve", small_disk / "ballast"
    # study.json: nothing has begun.
    fill(small_disk, left=0)
    check_full(begin(home).wait(), folder)
    assert not (folder / "study.json").exists()
    ballast.unlink()
    started = begin(home)
    started.wait_until(lambda: "trial 0: COMPLETE" in started.out.read_text())
    started.send(signal.SIGINT)
    assert started.wait().code == 130
    first = record_files(folder)
    # The next proposal.
    for name in ("encoders", "tune", "records"):
        disks.move(folder / name, "64m")
    full = folder / "proposals"
    disks.move(full, f"{4 * len(list(full.iterdir()))}k")
    check_full(begin(home).wait(), folder)
    assert len(list(full.iterdir())) < TRIALS
    disks.enlarge(full)
    # trials.csv and the journal, while the last trial is trained.
    started = begin(home)
    started.wait_until(lambda: "trial 2: epoch 1/" in started.out.read_text())
    fill(small_disk, left=0)
    check_full(started.wait(), folder)
    assert not (folder / "test_ledger.jsonl").exists()
    # The detector or the report, which are larger than what is left.
    ballast.unlink()
    fill(small_disk, left=100_000)
    check_full(begin(home).wait(), folder)
    ballast.unlink()
    resumed = begin(home).wait()
    assert resumed.code == 0, resumed
    assert states(home) == ["COMPLETE"] * TRIALS
    after = record_files(folder)
    assert {name: after[name] for name in first} == first
    assert {entry["opening"] for entry in openings(folder)} == {1}
    assert {int(row["trial"]) for row in trial_table(folder)} == set(range(TRIALS))
    assert (folder / "report.html").exists()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(retries, "ATTEMPTS", 4)


def search(home: Path, **options: Any) -> raysearch.Study:
    return raysearch.run(
        home / "data",
        machine="valve",
        out=home / "runs",
        space=home / "tiny.yaml",
        concurrent=1,
        dashboard=False,
        report=False,
        quiet=True,
        **options,
    )


class OnTrialStart(raysearch.SearchCallback):
    """A callback that does something when a trial starts."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_trial_start(self, study: str, proposal: object) -> None:
        self.action()


def control_services(started: Started) -> list[int]:
    """Return the process of Ray's control service of a run, if there is one."""
    return [pid for pid in descendants(started.process.pid) if "gcs/gcs_server" in title(pid)]


@pytest.mark.usefixtures("impatient")
def test_a_search_whose_storage_stays_away_ends_and_goes_on_later(
    home: Path, demo_data: Path
) -> None:
    def take_away() -> None:
        (home / "data").unlink(missing_ok=True)

    with pytest.raises(MachineError, match=r"the last 4 attempts .*no data set.*the same command"):
        search(home, callbacks=[OnTrialStart(take_away)])
    folder = home / "runs/valve"
    assert (folder / "study.json").exists()
    assert states(home) == []
    assert not (folder / "test_ledger.jsonl").exists()
    link(demo_data, home / "data")
    study = search(home)
    assert [record.state for record in study.records] == ["COMPLETE"] * TRIALS
    assert study.final_test is not None


def test_a_lost_service_of_ray_ends_the_run_in_one_line(home: Path) -> None:
    started = begin(home, "--no-report", "--epochs", 50)
    encoders = home / "runs/valve/encoders"
    started.wait_until(lambda: any(encoders.glob("*/last.safetensors")))
    [service] = control_services(started)
    os.kill(service, signal.SIGKILL)
    ended = started.wait()
    assert ended.code == 1, ended
    assert ended.err.startswith("raysearch: stopped with 0 of 3 trials done: Ray's service at ")
    assert ended.err.endswith("does not answer any more; the same command goes on\n")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("pause", [0.0, 1.5])
def test_a_service_that_is_lost_while_ray_starts_ends_the_run_in_one_line(
    home: Path, pause: float
) -> None:
    started = begin(home, "--no-report")
    started.wait_until(lambda: bool(control_services(started)))
    time.sleep(pause)
    os.kill(control_services(started)[0], signal.SIGKILL)
    ended = started.wait()
    assert ended.code in (1, 2), ended
    assert re.fullmatch(
        "raysearch: (Ray did not start on this machine .*|stopped .* does not answer any more; the "
        "same command goes on)\n",
        ended.err,
    ), ended


@pytest.mark.usefixtures("impatient")
def test_a_machine_without_memory_ends_the_search_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray kills every process of a trial, as if others had used up the memory.
    with monkeypatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", "0.01")
        with pytest.raises(MachineError, match=r"the last 4 attempts .*low on memory"):
            search(home)
    assert states(home) == []
    assert [record.state for record in search(home).records] == ["COMPLETE"] * TRIALS


def test_results_on_a_disk_that_is_away_are_all_there_when_it_is_back(home: Path) -> None:
    folder, away = home / "runs/valve", home / "away"
    before: dict[str, bytes] = {}

    def take_away() -> None:
        if states(home):
            before.update(record_files(folder))
            (home / "runs").rename(away)

    # The trial's process misses the study, and Tune wraps what its callbacks then raise.
    with pytest.raises(MachineError, match=r"study\.json is gone, so nothing"):
        search(home, callbacks=[OnTrialStart(take_away)])
    assert not (folder / "records").exists()
    shutil.rmtree(home / "runs", ignore_errors=True)
    away.rename(home / "runs")
    search(home)
    after = record_files(folder)
    assert before
    assert {name: after[name] for name in before} == before
    assert states(home) == ["COMPLETE"] * TRIALS
    assert len(openings(folder)) == 1
