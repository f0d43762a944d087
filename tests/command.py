"""The real `raysearch` command in processes of its own, for the tests of whole runs."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

COMMAND = Path(sys.executable).with_name("raysearch")
PATIENCE = 900
"""Seconds after which a command counts as hanging."""

TIMES = ("train_seconds", "score_seconds")
TINY: dict[str, Any] = {
    "validation_ids": [0, 1, 2],
    "test_ids": [3, 4, 5],
    "search": {
        "lr": {"low": 1e-3, "high": 1e-2, "log": True},
        "batch_size": [16, 32],
        "lambda": [1.0, 10.0],
        "inlier": {"gmm": [1, 2], "lof": [2], "none": []},
    },
    "fixed": {
        "epochs": 2,
        "backbone": "test_efficientnet",
        "pretrained": False,
        "n_fft": 512,
        "hop": 512,
        "n_mels": 32,
        "segments": 4,
    },
    "strategy": {"trials": 3},
}


def write_space(path: Path, **changes: Any) -> Path:
    """Writes the tiny space; a section's changes are merged into it, other keys are replaced."""
    merged = {
        key: {**value, **changes.get(key, {})} if isinstance(value, dict) else value
        for key, value in TINY.items()
    }
    others = {key: value for key, value in changes.items() if not isinstance(value, dict)}
    path.write_text(yaml.safe_dump({**merged, **others}))
    return path


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str


class Started:
    """A running command, at the head of a process group of its own."""

    def __init__(
        self,
        arguments: Sequence[object],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Relative paths are what people type, so a run is started where its files lie.
        self.out, self.err = folder / f"{id(self)}.out", folder / f"{id(self)}.err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Waits for its end."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end in {patience:g} s:\n{self._texts()}") from None
        return Ended(self.process.returncode, self.out.read_text(), self.err.read_text())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that it brings about."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended before:\n{self._texts()}"
            assert time.monotonic() < end, f"it never happened:\n{self._texts()}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kills the process group and, one by one, what else it had started."""
        with family(self.process.pid):
            self.send(signal.SIGKILL)
            self.process.wait()

    def _texts(self) -> str:
        return self.out.read_text() + self.err.read_text()


def raysearch(*arguments: object, folder: Path) -> Ended:
    """Runs a command in a folder to its end."""
    return Started(arguments, folder).wait()


@contextmanager
def family(pid: int, patience: float = 30) -> Iterator[None]:
    """Sees to it that the processes below one end after it.

    Raises:
        AssertionError: some had not when patience was at its end; they were killed by their id.
    """
    members = [(child, _born(child)) for child in descendants(pid)]
    yield
    end = time.monotonic() + patience
    while (left := _alive(members)) and time.monotonic() < end:
        time.sleep(0.1)
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left, f"these outlived process {pid}: {left}"


def _alive(members: Sequence[tuple[int, str]]) -> list[int]:
    return [pid for pid, born in members if born and _born(pid) == born]


def descendants(pid: int) -> list[int]:
    """Processes that one started, and those that they started, and so on."""
    parents = {
        int(path.name): fields[1]
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and (fields := _stat(int(path.name)))
    }
    pids = [pid]
    for parent in pids:
        pids += [child for child, of in parents.items() if int(of) == parent]
    return pids[1:]


def title(pid: int) -> str:
    """Return the command line of a process, which Ray sets to what its worker does."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process started, which tells it from a later one of the same id; empty if ended."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def table(path: Path) -> list[dict[str, str]]:
    """Reads a CSV file; everything stays text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trial_table(folder: Path) -> list[dict[str, str]]:
    """Reads the trials of a run from its trials.csv, without the reference."""
    return [row for row in table(folder / "trials.csv") if row["state"] != "REFERENCE"]


def timeless(path: Path) -> list[dict[str, str]]:
    """Reads the trials of trials.csv without their times."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in trial_table(path.parent)]


def openings(folder: Path) -> list[dict[str, Any]]:
    """Lines of a ledger from before a test clip is read."""
    lines = (folder / "test_ledger.jsonl").read_text().splitlines()
    return [entry for line in lines if "frozen" in (entry := json.loads(line))]


def contents(folder: Path) -> Mapping[str, bytes]:
    """Bytes of every file under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def digests(folder: Path) -> Mapping[str, str]:
    """SHA-256 of every file under a folder: pytest compares long contents for minutes."""
    return {name: sha256(content).hexdigest() for name, content in contents(folder).items()}


def record_files(folder: Path) -> Mapping[str, bytes]:
    """Bytes of every record of a study; a file that is still being written is none."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("records/*.json"))}


@dataclass(frozen=True)
class Study:
    """A run that came to its end."""

    home: Path
    ended: Ended

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "valve"

    @property
    def trials(self) -> list[dict[str, str]]:
        return timeless(self.folder / "trials.csv")

    def copy(self, home: Path, data: Callable[[Path, Path], object] | None = None) -> "Study":
        """Return a copy for a test that changes the study; `data` brings it recordings."""
        ignore = shutil.ignore_patterns("data", "*.out", "*.err", "ended.json")
        shutil.copytree(self.home, home, ignore=ignore)
        (data or link)(self.home / "data", home / "data")
        return Study(home, self.ended)


ONE_AT_A_TIME = (
    *("run", "--machine", "valve", "--space", "tiny.yaml", "--concurrent", "1"),
    # No test looks at Ray's dashboard, which takes longer to start than the rest of Ray.
    "--no-dashboard",
)


def begin(home: Path, *arguments: object) -> Started:
    """Starts a run in a folder that holds tiny.yaml, data/ and will hold runs/."""
    return Started([*ONE_AT_A_TIME, *arguments], home)


def settle(home: Path, data: Path, how: Callable[[Path, Path], object]) -> Path:
    home.mkdir()
    write_space(home / "tiny.yaml")
    how(data, home / "data")
    return home


def copy_without_times(data: Path, to: Path) -> None:
    shutil.copytree(data, to, copy_function=shutil.copyfile)


def link(data: Path, to: Path) -> None:
    to.symlink_to(data)
