"""Runs on a real Ray head, reached over a real ssh, as from a laptop."""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from raysearch.errors import UserError
from raysearch.remote import jobs
from raysearch.remote.arguments import remote_command
from raysearch.remote.cluster_file import read_cluster_file
from raysearch.remote.follow import follow, read_log
from tests.command import Ended, Started, digests, trial_table, write_space
from tests.remote.head import Head, connections
from tests.remote.head import head as head  # a fixture
from tests.remote.head import ssh as ssh  # another

pytestmark = pytest.mark.slow
ID = re.compile(r"raysearch-valve-\d{8}-\d{6}")


class Laptop:
    """A folder on this machine from which commands are given to a cluster."""

    def __init__(self, head: Head, folder: Path, data: Path) -> None:
        self.head, self.folder, self.out = head, folder, folder / "shared" / "runs"
        self.data = data
        folder.mkdir()

    def run(self, *arguments: object) -> Started:
        return self.start(
            *("run", "--machine", "valve", "--space", "tiny.yaml", "--data", self.data),
            *("--out", self.out, "--concurrent", "1", "--no-report", *arguments),
        )

    def start(self, command: str, *arguments: object) -> Started:
        return Started([command, "--cluster", self.head.file, *arguments], self.folder)

    def log(self, job: str) -> list[str]:
        """Return the output of the run, as the head keeps it."""
        client = jobs.create_client(self.head.url, self.head.token, "test")
        text = client.get_job_logs(job)
        lines = text[text.index("Running entrypoint") :].splitlines()
        return lines[1:]


@pytest.fixture(scope="module")
def laptop(head: Head, tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Laptop:
    return Laptop(head, tmp_path_factory.mktemp("laptop") / "home", demo_data)


def wait_for(remote: Started, pattern: str) -> re.Match[str]:
    """Waits until a command has printed something."""
    remote.wait_until(lambda: re.search(pattern, remote.out.read_text()) is not None)
    match = re.search(pattern, remote.out.read_text())
    assert match is not None
    return match


def said(remote: Started) -> list[str]:
    """The lines of a run that a command printed, without its own first line."""
    return [
        line
        for line in remote.out.read_text().splitlines()[1:]
        if not line.startswith("[the connection")
    ]


@dataclass(frozen=True)
class Course:
    """A run that was stopped in its first trial, and came to its end by the same command.

    Attributes:
        job: of the first command.
        first: the command that began it, as it ended when the run was stopped.
        left: a second command for the same folder, interrupted while it followed the first run.
        stopped: the command that stopped it.
        second: the job that resumed it.
        resumed: the command that began the second job.
        broken: processes of its connection, killed while the second job was running.
    """

    job: str
    first: Ended
    left: Ended
    stopped: Ended
    second: str
    resumed: Started
    broken: Sequence[int]


@pytest.fixture(scope="module")
def course(laptop: Laptop) -> Course:
    write_space(laptop.folder / "tiny.yaml", fixed={"epochs": 8}, strategy={"trials": 2})
    first = laptop.run()
    job = wait_for(first, ID.pattern)[0]
    first.wait_until(lambda: any(laptop.out.glob("valve/encoders/*/last.safetensors")))
    # The trial would end before the other commands have reached the cluster.
    with laptop.head.at_a_standstill():
        other = laptop.run("--trials", "9")
        wait_for(other, "trial 0: lr")
        other.send(signal.SIGINT)
        left = other.wait()
        stopping = laptop.start("stop")
        wait_for(stopping, "stopping")
    stopped = stopping.wait()
    ended = first.wait()
    resumed = laptop.run()
    second = wait_for(resumed, ID.pattern)[0]
    wait_for(resumed, "trial 0: epoch")
    # The tunnel of a laptop that fell asleep.
    broken = connections(laptop.head.file)
    for pid in broken:
        os.kill(pid, signal.SIGKILL)
    return Course(job, ended, left, stopped, second, resumed, broken)


def test_a_run_outlives_what_breaks_on_the_way(laptop: Laptop, course: Course) -> None:
    ended = course.resumed.wait()
    assert course.broken
    assert ended.code == 0, ended
    assert f"{course.second} on cluster " in ended.out.splitlines()[0]
    assert "the connection to the cluster broke" in ended.out
    log = laptop.log(course.second)
    assert said(course.resumed) == log
    assert len(set(log)) == len(log)
    assert any(line.startswith("trial 1: COMPLETE") for line in log)


def test_a_second_command_for_the_same_folder_follows_the_run(course: Course) -> None:
    left, job = course.left, course.job
    assert left.code == 130, left
    assert left.out.startswith(f"{job} is already running this")
    assert re.search(f"attach .*{job}.*stop .*{job}.*fetch .*{job}", left.err)
    assert left.err.count("\n") == 1


def test_results_can_be_looked_at_afterwards(
    laptop: Laptop, course: Course, tmp_path: Path
) -> None:
    job, to = course.second, tmp_path
    attached = laptop.start("attach").wait()
    assert attached.code == 0
    assert attached.out.splitlines()[0].startswith(f"{job} (succeeded): raysearch run")
    assert attached.out.splitlines()[1:] == laptop.log(job)[-20:]
    fetched = laptop.start("fetch", "--to", to / "here").wait()
    assert (fetched.code, fetched.out) == (0, f"{to / 'here' / 'valve'}\n"), fetched
    here, there = digests(to / "here" / "valve"), digests(laptop.out / "valve")
    assert here.items() <= there.items()
    assert {"best_config.yaml", "final_test.csv", "trials.csv", "study.json"} <= here.keys()
    assert any(name.startswith("detector/") for name in here)
    assert not any(name.startswith("encoders/") for name in here)
    assert len({row["trial"] for row in trial_table(to / "here" / "valve")}) == 2


def test_a_run_is_stopped_and_resumes(laptop: Laptop, course: Course) -> None:
    stopped, resumed = course.stopped, course.resumed.wait()
    assert stopped.code == 0, stopped
    lines = stopped.out.splitlines()
    assert lines[0] == f"stopping {course.job}"
    assert lines[-1].startswith("stopped; resume with: raysearch run --cluster ")
    assert "the same command resumes from here" in stopped.out
    assert "Traceback" not in stopped.out
    assert course.first.code == 130
    again = laptop.start("stop", course.job).wait()
    assert (again.code, again.err) == (
        2,
        f"raysearch: {course.job} is not running: it was stopped\n",
    )
    assert resumed.code == 0, resumed
    assert "resuming: 0 of 2 trials are done" in resumed.out
    assert not re.search("trial 0: epoch 1/", resumed.out)
    assert re.search("trial 0: epoch 8/8", resumed.out)


def test_the_exit_code_of_the_run_is_ours(laptop: Laptop) -> None:
    write_space(laptop.folder / "tiny.yaml")
    failed = laptop.run("--data", laptop.folder / "nowhere").wait()
    assert failed.code == 2, failed
    assert "raysearch: no data: " in failed.out


def test_commands_that_find_nothing_say_so(laptop: Laptop) -> None:
    file = read_cluster_file(laptop.head.file)
    with jobs.connect(file) as client, pytest.raises(UserError, match="knows no run raysearch-x"):
        jobs.latest_run(client, "raysearch-x")
    with pytest.raises(UserError, match="test: the cluster refuses the token"):
        jobs.create_client(laptop.head.url, "another", "test")
    with pytest.raises(UserError, match="does not set RAY_AUTH_MODE=token"):
        jobs.create_client(laptop.head.url, None, "test")


# Ray opens its websocket in a way that aiohttp is about to give up.
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated")
def test_a_job_knows_what_it_was_asked(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    # An address in the environment is of another cluster than the one that is named.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    client = jobs.create_client(laptop.head.url, laptop.head.token, "test")
    argv = ["run", "--machine", "fan", "--data", "/nowhere", "--out", "/nowhere/runs"]
    command = remote_command(argv, {})
    job = jobs.submit(client, command.arguments, {}, command.metadata)
    run = jobs.latest_run(client, job)
    assert run.metadata == command.metadata
    assert run.entrypoint.endswith("--data /nowhere --out /nowhere/runs")
    shown: list[str] = []
    assert follow(client, never, job, shown.append) == 2
    assert any("no data: /nowhere is not a folder" in line for line in shown)
    # What somebody knows of the log already is not shown, however late the rest is asked for.
    log, rest = read_log(client, job), list[str]()
    known = log[: log.index(shown[-1])]
    assert follow(client, never, job, rest.append, shown=known) == 2
    assert rest == shown[-1:]
    assert not jobs.latest_run(client, job).live
    assert jobs.find_running(client, command.metadata) is None


@contextmanager
def never() -> Iterator[JobSubmissionClient]:
    raise AssertionError("nothing broke")
