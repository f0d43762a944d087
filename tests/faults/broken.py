"""A tiny search by the real command that is going to be broken, and what it must keep."""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.storage import AnyPath, to_path
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import rank
from raysearch.study.winner import choose_winner, read_frozen
from tests.command import (
    ONE_AT_A_TIME,
    TIMES,
    Ended,
    Started,
    descendants,
    title,
    trial_table,
    write_space,
)
from tests.faults.gate import Gate

TRIALS, EPOCHS = 3, 4
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Titles of processes of Ray that outlive a killed driver for a while."""


class MissedError(Exception):
    """A fault that came too late: the search had ended, or had not what it breaks."""


@dataclass
class Search:
    """A search in a folder of its own.

    Attributes:
        home: holds tiny.yaml, data/ and runs/, and the cache of decoded recordings.
        random: draws the moment and the kind of the fault.
        arguments: of the command, further ones.
        environment: of the command, changed variables.
        out: parent of the folder of the results.
        gate: in front of the S3 server; None on disk.
        running: the command that is broken.
        damaged: names of records that the fault damages.
        remarks: on what the fault did.
        violations: invariants that the search broke.
        broken: file that the fault damages.
        retrained: largest number of trials that only train an encoder again.
        stack: clean-up after the search.
    """

    home: Path
    random: random.Random
    arguments: tuple[object, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    out: str = ""
    gate: Gate | None = None
    running: Started | None = None
    damaged: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    broken: Path | None = None
    retrained: int = 0
    stack: ExitStack = field(default_factory=ExitStack)
    _seen: list[Mapping[str, bytes]] = field(default_factory=list)

    @property
    def folder(self) -> AnyPath:
        return to_path(self.out or self.home / "runs") / "valve"

    @property
    def driver(self) -> Started:
        assert self.running is not None
        return self.running

    def start(self) -> Started:
        """Start the command; each time the same."""
        out = ("--out", self.out) if self.out else ()
        options = (*ONE_AT_A_TIME, "--no-report", *out, *self.arguments)
        return Started(options, self.home, self.environment)

    def records(self) -> dict[str, bytes]:
        """Read the records, as bytes."""
        paths = (p for p in self.folder.glob("records/*.json") if p.stem.isdecimal())
        return {path.name: path.read_bytes() for path in paths}

    def count(self) -> int:
        """Count the records; -1 before study.json."""
        if not (self.folder / "study.json").exists():
            return -1
        return sum(path.stem.isdecimal() for path in self.folder.glob("records/*.json"))

    def wait_for(self, records: int, seconds: float) -> None:
        """Wait until so many trials have ended, and then for some time."""
        while records >= 0 and self.count() < records:
            self._check_running()
            time.sleep(0.1)
        time.sleep(seconds)
        self._check_running()

    def process(self, mark: str) -> int:
        """Wait for a process below the driver with a mark in its title, and return its ID."""
        while True:
            self._check_running()
            pids = [pid for pid in descendants(self.driver.process.pid) if mark in title(pid)]
            if pids:
                return self.random.choice(pids)
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the driver, alone or with its process group, and wait for all that it started."""
        pid = self.driver.process.pid
        children = descendants(pid)
        if self.random.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
        else:
            self.driver.send(signal.SIGKILL)
        self.driver.process.wait()
        self.wait_for_end(children)

    def wait_for_end(self, pids: list[int], patience: float = 40) -> None:
        """Wait for the end of processes; those that do not end violate an invariant.

        Ray's agents do not count: they look for their raylet every minute or so.
        """
        end = time.monotonic() + patience
        while (left := [pid for pid in pids if _works(pid)]) and time.monotonic() < end:
            time.sleep(0.1)
        if left:
            self.violations.append(f"outlived the driver: {[title(pid)[:30] for pid in left]}")
        for pid in left:
            os.kill(pid, signal.SIGKILL)

    def folder_is_there(self) -> bool:
        """Return True if the study has begun."""
        return self.count() >= 0

    def note(self) -> None:
        """Keep the records of this moment, and check that no test ID was opened too early."""
        seen = self.records()
        self._seen.append(seen)
        if (self.folder / "test_ledger.jsonl").exists() and len(seen) < TRIALS:
            self.violations.append(f"test IDs opened after {len(seen)} of {TRIALS} trials")

    def check_lines(self, ended: Ended) -> None:
        """Check that a command that stopped said so in one line."""
        text = ended.out + ended.err
        if "Traceback" in text:
            self.violations.append("a traceback")
        if ended.code in (0, -signal.SIGKILL):
            return
        lines = ended.err.splitlines()
        if len(lines) != 1 or not lines[0].startswith("raysearch: "):
            self.violations.append(f"{len(lines)} lines with exit code {ended.code}")
        self.remarks += lines[-1:]

    def check_end(self, undisturbed: "Search | None") -> None:
        """Check what must hold after a search has ended, see the documentation of the soak."""
        last = self.records()
        for number, seen in enumerate(self._seen):
            for name, content in seen.items():
                if name not in self.damaged and last.get(name) != content:
                    self.violations.append(f"record {name} of moment {number} is lost or altered")
        contents = {name: json.loads(content) for name, content in last.items()}
        again = [name for name, c in contents.items() if c["proposal"].get("rerun_of") is not None]
        if sorted(last.keys() - set(again)) != [f"{n:04d}.json" for n in range(TRIALS)]:
            self.violations.append(f"records {sorted(last)}")
        # A winner whose checkpoint was damaged is trained again, as a trial of its own.
        encoders = [contents[name]["encoder"] for name in last if name not in again]
        if len(again) > self.retrained or any(
            contents[n]["encoder"] not in encoders for n in again
        ):
            self.violations.append(f"trained again: {again}")
        states = {name: content["state"] for name, content in contents.items()}
        if set(states.values()) != {"COMPLETE"}:
            self.violations.append(f"states {states}")
        self._check_ledger()
        self._check_winner()
        if undisturbed is not None and self.facts() != undisturbed.facts():
            self.violations.append("other results than undisturbed")

    def facts(self) -> Any:
        """Return the results of the search but for its times."""
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "trials.csv").write_bytes((self.folder / "trials.csv").read_bytes())
            rows = trial_table(Path(name))
        trials = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        frozen = json.loads((self.folder / "frozen.json").read_text())
        return (
            [row for row in trials if int(row["trial"]) < TRIALS],
            {key: value for key, value in frozen.items() if key != "trial"},
            (self.folder / "final_test.csv").read_text(),
        )

    def _check_ledger(self) -> None:
        lines = (self.folder / "test_ledger.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        openings = [entry for entry in entries if "frozen" in entry]
        numbers = {entry["opening"] for entry in openings}
        detectors = {json.dumps(entry["frozen"]) for entry in openings}
        if numbers != {1} or len(detectors) != 1 or len(entries) - len(openings) != 1:
            self.violations.append(f"{len(openings)} openings, {len(entries)} lines in the ledger")

    def _check_winner(self) -> None:
        """Check that the winner is the one that an undisturbed folder with these records gives."""
        with tempfile.TemporaryDirectory() as name:
            copy = to_path(name) / "valve"
            for part in ("records", "proposals"):
                (copy / part).mkdir(parents=True)
                for path in (self.folder / part).glob("*.json"):
                    (copy / part / path.name).write_bytes(path.read_bytes())
            (copy / "study.json").write_bytes((self.folder / "study.json").read_bytes())
            study = StudyFolder(copy)
            ranking = rank(study.records())
            assert ranking is not None
            winner = choose_winner("valve", study.manifest.fingerprint, ranking)
        if winner != read_frozen(to_path(str(self.folder))):
            self.violations.append("another winner than that of the records")

    def _check_running(self) -> None:
        if self.driver.process.poll() is not None:
            raise MissedError


def _works(pid: int) -> bool:
    """Return True for a living process that could still write into the study."""
    return bool(text := title(pid)) and not text.startswith(AGENTS)


@contextmanager
def make_home(data: Path, *, copied: bool) -> Iterator[Path]:
    """Make a folder for a search, with recordings that are links or copies of its own.

    The path is short, as Ray keeps its sockets in there.
    """
    home = Path(tempfile.mkdtemp(prefix="sk", dir="/tmp"))
    try:
        write_space(
            home / "tiny.yaml",
            fixed={"epochs": EPOCHS},
            strategy={"trials": TRIALS, "finalists": "none"},
        )
        if copied:
            shutil.copytree(data, home / "data")
        else:
            (home / "data").symlink_to(data)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def mount(*arguments: object) -> None:
    """Mount a file system; only root can."""
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def unmount(folder: Path) -> None:
    """Take away what was mounted on a folder, once nobody uses it any more."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
