"""Whole runs by the real command with `--out` on a real S3 server."""

import json
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from raysearch.storage import Place, place
from tests.command import (
    Ended,
    Started,
    begin,
    contents,
    family,
    link,
    raysearch,
    settle,
    table,
    timeless,
    write_space,
)
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.slow

OUT = f"s3://{BUCKET}/runs"
TRIALS, EPOCHS = 3, 4


@dataclass(frozen=True)
class Run:
    """A run on S3 that came to its end.

    Attributes:
        home: where its command was typed; the same search on disk lies below.
        copy: of its folder, on disk.
        survived: records that it had written when it was killed.
    """

    home: Path
    ended: Ended
    copy: Path
    survived: Mapping[str, bytes] = field(default_factory=dict)

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
def whole(tmp_path_factory: pytest.TempPathFactory, demo_data: Path, _environment: None) -> Run:
    home = settle(tmp_path_factory.mktemp("s3-runs") / "home", demo_data, link)
    write_space(home / "tiny.yaml", fixed={"epochs": EPOCHS}, strategy={"trials": TRIALS})
    local, remote = begin(home), begin(home, "--out", OUT, "--name", "whole")
    assert (ended := local.wait()).code == 0, ended
    return fetch(home, remote.wait(), "whole")


@pytest.fixture(scope="module")
def killed(whole: Run) -> Run:
    """The same with a SIGKILL to the driver while its second trial trains."""
    command = ("--out", OUT, "--name", "killed")
    folder = place(f"{OUT}/killed")

    def in_the_second_trial() -> bool:
        time.sleep(0.1)  # The server answers the run as well.
        return len(records(folder)) == 1 and any(folder.glob("encoders/*/last.safetensors"))

    with ExitStack() as left:
        started = begin(whole.home, *command)
        started.wait_until(in_the_second_trial)
        left.enter_context(family(started.process.pid))
        started.send(signal.SIGKILL)
        started.process.wait()
        survived = records(folder)
        ended = begin(whole.home, *command).wait()
    return replace(fetch(whole.home, ended, "killed"), survived=survived)


def fetch(home: Path, ended: Ended, name: str) -> Run:
    assert ended.code == 0, ended
    folder, copy = place(f"{OUT}/{name}"), home.parent / name
    folder.fs.get(f"{folder.path}/", f"{copy}/", recursive=True)
    return Run(home, ended, copy)


@pytest.fixture(params=["whole", "killed"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def records(folder: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("records/*.json")}


def test_the_results_are_those_of_a_local_run(run: Run) -> None:
    assert timeless(run.copy / "trials.csv") == timeless(run.local / "trials.csv")
    assert table(run.copy / "final_test.csv") == table(run.local / "final_test.csv")
    local, copied = contents(run.local / "submission"), contents(run.copy / "submission")
    assert local == copied
    assert len(local) == 6


def test_every_file_is_there_and_losers_left_no_checkpoint(run: Run) -> None:
    def kept(folder: Path) -> set[str]:
        found = {path for path in contents(folder) if not path.startswith("tune/")}
        return {path for path in found if not path.endswith(".lock")}

    assert kept(run.copy) == kept(run.local)
    winner = json.loads((run.local / "frozen.json").read_text())["encoder"]
    checkpoints = [path for path in kept(run.local) if path.startswith("encoders/")]
    assert checkpoints == [f"encoders/{winner}/best.safetensors"]
    assert (run.copy / "study.journal").stat().st_size > 0


def test_a_kill_costs_no_record_and_does_nothing_twice(killed: Run) -> None:
    after = records(killed.copy)
    assert sorted(after) == [f"000{number}.json" for number in range(TRIALS)]
    assert killed.survived.items() <= after.items()
    assert 1 <= len(killed.survived) < TRIALS
    resumes = [json.loads(text)["resumes"] for text in after.values()]
    assert any(epochs and 0 < epochs[0] < EPOCHS for epochs in resumes)
    assert f"resuming: {len(killed.survived)} of {TRIALS}" in killed.ended.out


def test_tensorboard_files_are_there(whole: Run) -> None:
    assert list((whole.copy / "tune").rglob("events.out.tfevents.*"))


def test_nothing_of_it_is_written_beside_the_command(whole: Run) -> None:
    names = {path.name for path in whole.home.iterdir() if path.suffix not in (".out", ".err")}
    assert names == {"data", "runs", "tiny.yaml"}
    assert not [path for path in whole.home.rglob("*") if path.name in ("s3:", "whole", BUCKET)]


def test_the_same_command_finds_everything_done_and_more_trials_go_on(whole: Run) -> None:
    again = begin(whole.home, "--out", OUT, "--name", "whole", "--trials", TRIALS + 1).wait()
    assert again.code == 0, again
    before, after = records(whole.copy), records(place(f"{OUT}/whole"))
    assert before.items() <= after.items()
    assert len(after) == TRIALS + 1


def test_recordings_may_lie_there_as_well(whole: Run, demo_data: Path) -> None:
    data = place(f"s3://{BUCKET}/dcase")
    data.fs.put(f"{demo_data}/", f"{data.path}/", recursive=True)
    ended = begin(whole.home, "--data", data, "--name", "hosted", "--trials", 1).wait()
    assert ended.code == 0, ended
    folder = whole.home / "runs" / "hosted"
    first = [row for row in timeless(whole.local / "trials.csv") if row["trial"] == "0"]
    assert timeless(folder / "trials.csv") == first
    assert (folder / "final_test.csv").is_file()
    again = raysearch("final", "runs/hosted", folder=whole.home)
    assert again.code == 0, again
    assert len((folder / "test_ledger.jsonl").read_text().splitlines()) == 2
    shutil.rmtree(folder)


def test_an_address_with_a_login_shows_no_secret(whole: Run, s3_server: S3) -> None:
    """The login of an address is used, and stands nowhere but in Ray Tune's own state."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
            patch.delenv(name)
        started = begin(whole.home, "--out", s3_server.address("login"), "--trials", 1)
        ended = started.wait()
    assert ended.code == 0, ended
    assert "unspoken" not in ended.out + ended.err
    folder = place(f"s3://{BUCKET}/login/valve")
    assert len(records(folder)) == 1
    files = [path for path in folder.rglob("*") if path.is_file() and "/tune/" not in str(path)]
    assert {"study.json", "test_ledger.jsonl"} <= {path.name for path in files}
    assert [str(path) for path in files if b"unspoken" in path.read_bytes()] == []


def test_tables_over_all_runs_are_written_beside_them(whole: Run, killed: Run) -> None:
    ended = raysearch("export", "--out", OUT, folder=whole.home)
    assert ended.code == 0, ended
    assert f"{OUT}/best_configs.csv" in ended.out
    assert "killed" in place(f"{OUT}/best_configs.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("s3://nowhere/runs", "there is no bucket of that name"),
        ("ftp://host/runs", "expected a local path"),
    ],
)
def test_a_wrong_address_ends_with_one_line(whole: Run, out: str, problem: str) -> None:
    ended = Started(["run", "--machine", "valve", "--out", out], whole.home).wait()
    assert ended.code == 2, ended
    assert problem in ended.err
    assert ended.err.count("\n") == 1
