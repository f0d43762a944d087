"""Whole runs by the real command with `--out` on a real S3 server.

Only a whole run shows that all of its parts, Ray Tune included, write to the server, and that a
search resumes from the files on the server after its driver was killed.
"""

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from raysearch.storage import AnyPath, to_path
from tests.command import (
    Ended,
    Started,
    begin,
    contents,
    digests,
    family,
    link,
    openings,
    raysearch,
    settle,
    table,
    timeless,
    write_space,
)
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.slow

OUT = f"s3://{BUCKET}/runs"
KILLED = ("--out", OUT, "--name", "killed")
TRIALS, EPOCHS = 3, 4


@dataclass(frozen=True)
class Run:
    """A run on S3 that was killed and then resumed with more trials.

    Attributes:
        home: working folder of the commands; holds the same search on disk.
        copy: copy of the run's folder, on disk.
        survived: records written before the kill.
    """

    home: Path
    ended: Ended
    copy: Path
    survived: Mapping[str, bytes]

    @property
    def local(self) -> Path:
        """Folder of the same search on disk."""
        return self.home / "runs" / "valve"


@pytest.fixture(scope="module", autouse=True)
def _environment(s3_server: S3) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, demo_data: Path, _environment: None) -> Run:
    """Kill the driver with SIGKILL while its second trial trains; then resume with one more.

    The same search on disk runs beside it, uninterrupted.
    """
    home = settle(tmp_path_factory.mktemp("s3-runs") / "home", demo_data, link)
    write_space(home / "tiny.yaml", fixed={"epochs": EPOCHS}, strategy={"trials": TRIALS})
    folder, copy = to_path(f"{OUT}/killed"), home.parent / "killed"

    def in_the_second_trial() -> bool:
        time.sleep(0.1)  # The server answers the run as well.
        return len(records(folder)) == 1 and any(folder.glob("encoders/*/last.safetensors"))

    local = begin(home)
    with ExitStack() as left:
        started = begin(home, *KILLED, "--trials", TRIALS - 1)
        started.wait_until(in_the_second_trial)
        left.enter_context(family(started.process.pid))
        started.send(signal.SIGKILL)
        started.process.wait()
        survived = records(folder)
        ended = begin(home, *KILLED).wait()
    assert ended.code == 0, ended
    assert (alone := local.wait()).code == 0, alone
    folder.fs.get(f"{folder.path}/", f"{copy}/", recursive=True)
    return Run(home, ended, copy, survived)


def records(folder: AnyPath) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("records/*.json")}


def test_the_results_are_those_of_a_local_run(run: Run) -> None:
    assert timeless(run.copy / "trials.csv") == timeless(run.local / "trials.csv")
    assert table(run.copy / "final_test.csv") == table(run.local / "final_test.csv")
    local, copied = digests(run.local / "submission"), digests(run.copy / "submission")
    assert local == copied
    assert len(local) == 7  # Two files for each test ID, and the meta information.


def test_every_file_is_there_and_losers_left_no_checkpoint(run: Run) -> None:
    def kept(folder: Path) -> set[str]:
        paths = {path for path in contents(folder) if not path.startswith("tune/")}
        return {path for path in paths if not path.endswith(".lock")}

    assert kept(run.copy) == kept(run.local)
    winner = json.loads((run.local / "frozen.json").read_text())["encoder"]
    checkpoints = [path for path in kept(run.local) if path.startswith("encoders/")]
    assert checkpoints == [f"encoders/{winner}/best.safetensors"]
    assert (run.copy / "study.journal").stat().st_size > 0


def test_a_kill_costs_no_record_and_does_nothing_twice(run: Run) -> None:
    after = records(run.copy)
    assert sorted(after) == [f"000{number}.json" for number in range(TRIALS)]
    assert run.survived.items() <= after.items()
    assert 1 <= len(run.survived) < TRIALS
    resumes = [json.loads(text)["resumes"] for text in after.values()]
    assert any(epochs and 0 < epochs[0] < EPOCHS for epochs in resumes)
    # The second command resumes the search with its own number of trials.
    assert f"resuming: {len(run.survived)} of {TRIALS}" in run.ended.out


def test_tensorboard_files_are_there(run: Run) -> None:
    assert list((run.copy / "tune").rglob("events.out.tfevents.*"))


def test_nothing_of_it_is_written_beside_the_command(run: Run) -> None:
    names = {path.name for path in run.home.iterdir() if path.suffix not in (".out", ".err")}
    assert names == {"data", "runs", "tiny.yaml"}
    assert not [path for path in run.home.rglob("*") if path.name in ("s3:", "killed", BUCKET)]


def test_the_same_command_finds_everything_done(run: Run) -> None:
    again = begin(run.home, *KILLED).wait()
    assert again.code == 0, again
    assert records(to_path(f"{OUT}/killed")) == records(run.copy)


@dataclass(frozen=True)
class Hosted:
    """A run with recordings and results on S3, whose addresses hold the endpoint.

    Attributes:
        final: the command that repeated the final test.
        folder: folder of the run, opened with the login of the environment.
        copy: copy of the run's folder, on disk.
    """

    ended: Ended
    final: Ended
    folder: AnyPath
    copy: Path


@pytest.fixture(scope="module")
def hosted(
    run: Run, demo_data: Path, s3_server: S3, tmp_path_factory: pytest.TempPathFactory
) -> Hosted:
    data, folder = to_path(f"s3://{BUCKET}/dcase"), to_path(f"s3://{BUCKET}/login/valve")
    data.fs.put(f"{demo_data}/", f"{data.path}/", recursive=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_ENDPOINT_URL")
        places = ("--data", s3_server.address("dcase"), "--out", s3_server.address("login"))
        ended = begin(run.home, *places, "--trials", 1, "--no-report").wait()
        # The study keeps the address of its recordings without the endpoint.
        again = ("--data", s3_server.address("dcase"), "--reopen-test")
        final = raysearch("final", s3_server.address("login/valve"), *again, folder=run.home)
    copy = tmp_path_factory.mktemp("login") / "valve"
    folder.fs.get(f"{folder.path}/", f"{copy}/", recursive=True)
    return Hosted(ended, final, folder, copy)


def test_recordings_may_lie_there_as_well(run: Run, hosted: Hosted) -> None:
    assert hosted.ended.code == 0, hosted.ended
    assert len(records(hosted.folder)) == 1
    first = [row for row in timeless(run.local / "trials.csv") if row["trial"] == "0"]
    assert timeless(hosted.copy / "trials.csv") == first
    assert (hosted.copy / "final_test.csv").is_file()
    assert hosted.final.code == 0, hosted.final
    assert len(openings(hosted.copy)) == 2


def test_a_secret_is_in_no_file_and_in_no_line(hosted: Hosted) -> None:
    for ended in (hosted.ended, hosted.final):
        assert "unspoken" not in ended.out + ended.err
    files = contents(hosted.copy)
    assert {"study.json", "test_ledger.jsonl"} <= files.keys()
    # The pickles of Ray Tune hold paths with all their options.
    assert any(name.startswith("tune/") for name in files)
    assert [name for name, content in files.items() if b"unspoken" in content] == []


def test_tables_over_all_runs_are_written_beside_them(run: Run) -> None:
    ended = raysearch("export", "--out", OUT, folder=run.home)
    assert ended.code == 0, ended
    assert f"{OUT}/best_configs.csv" in ended.out
    assert to_path(f"{OUT}/best_configs.csv").read_text().splitlines()[0] == "parameter,valve"


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("s3://nowhere/runs", "there is no bucket of that name"),
        ("ftp://host/runs", "expected a local path"),
        ("s3://somebody:unspoken@here/runs", "a login in an address ends up in files"),
    ],
)
def test_a_wrong_address_ends_with_one_line(run: Run, out: str, problem: str) -> None:
    ended = Started(["run", "--machine", "valve", "--out", out], run.home).wait()
    assert ended.code == 2, ended
    assert problem in ended.err
    assert ended.err.count("\n") == 1
    assert "unspoken" not in ended.err
