"""A search whose driver is killed at any moment loses nothing and does nothing twice.

Only processes that are really killed show what is on the disk at any moment.
"""

import json
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.study.strategy import REDUCTION
from tests.command import (
    ONE_AT_A_TIME,
    Started,
    contents,
    family,
    record_files,
    table,
    timeless,
    write_space,
)

pytestmark = pytest.mark.slow

TRIALS, EPOCHS, RUNG = 6, 6, 2
STRATEGY = {
    "trials": TRIALS,
    "scheduler": "asha",
    "grace": RUNG,
    "finalists": {"top": 1, "seeds": 2},
}
ENDED = TRIALS + 2  # a promoted trial and the finalist


@dataclass(frozen=True)
class Killed:
    """A search that was killed twice and then left to its end, and one that never was.

    Attributes:
        seen: records after each kill.
    """

    folder: Path
    untouched: Path
    seen: tuple[Mapping[str, bytes], ...]


def begin(home: Path, name: str) -> Started:
    return Started([*ONE_AT_A_TIME, "--name", name, "--no-final", "--no-report"], home)


def in_a_trial(folder: Path, records: int) -> bool:
    """Return True once so many trials have ended and another has a checkpoint."""
    running = any(folder.glob("encoders/*/last.safetensors"))
    return running and len(record_files(folder)) >= records


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Killed:
    home = tmp_path_factory.mktemp("kill")
    (home / "data").symlink_to(demo_data)
    write_space(home / "tiny.yaml", fixed={"epochs": EPOCHS}, strategy=STRATEGY)
    folder, seen = home / "runs" / "killed", []
    untouched = begin(home, "untouched")
    with ExitStack() as left:
        for records in (0, 2):
            started = begin(home, "killed")
            started.wait_until(partial(in_a_trial, folder, records))
            # Trials have process groups of their own and outlive the driver for a moment, in
            # which the search is already started again.
            left.enter_context(family(started.process.pid))
            started.send(signal.SIGKILL)
            started.process.wait()
            seen.append(record_files(folder))
        for ended in (begin(home, "killed").wait(), untouched.wait()):
            assert ended.code == 0, ended
    return Killed(folder, home / "runs" / "untouched", tuple(seen))


def test_every_trial_has_one_record(killed: Killed) -> None:
    records = record_files(killed.folder)
    assert list(records) == [f"000{number}.json" for number in range(ENDED)]
    assert [json.loads(r)["proposal"]["number"] for r in records.values()] == list(range(ENDED))
    assert {row["trial"] for row in timeless(killed.folder / "trials.csv")} == set("01234567")


def test_no_record_changes_after_it_was_written(killed: Killed) -> None:
    last = record_files(killed.folder)
    for earlier in killed.seen:
        assert earlier.items() <= last.items()
    counts = [len(records) for records in killed.seen]
    assert counts == sorted(counts)
    assert 2 <= counts[1] < ENDED


def test_an_interrupted_trial_resumes_from_its_epoch(killed: Killed) -> None:
    records = [json.loads(r) for r in record_files(killed.folder).values()]
    resumed = [record for record in records if record["resumes"]]
    assert resumed
    for record in resumed:
        assert 1 <= record["resumes"][0] <= EPOCHS
        last = EPOCHS if record["state"] == "COMPLETE" else RUNG
        assert [epoch["epoch"] for epoch in record["history"]] == list(range(1, last + 1))


def test_pruned_trials_stay_pruned_and_nothing_is_reported_twice(killed: Killed) -> None:
    records = [json.loads(r) for r in record_files(killed.folder).values()]
    states = [record["state"] for record in records]
    assert set(states) == {"COMPLETE", "PRUNED"}
    journal = JournalStorage(JournalFileBackend(str(killed.folder / "study.journal")))
    trials = optuna.load_study(study_name="killed", storage=journal).trials
    assert [trial.state.name for trial in trials] == states[:TRIALS]
    for trial, record in zip(trials, records, strict=False):
        # One rung, compared once: a trial that continues is in the best third of those at the rung.
        scores = {e["epoch"]: e["val_score"] for e in record["history"] if e["val_score"]}
        assert trial.intermediate_values == scores
        assert list(scores) == [RUNG]
    before = [trials[k].intermediate_values[RUNG] for k in range(TRIALS)]
    for k, state in enumerate(states[:TRIALS]):
        ahead = sum(score > before[k] for score in before[: k + 1])
        assert (state == "COMPLETE") == (ahead < max(1, (k + 1) // REDUCTION)), (k, before)


def test_a_pruned_trial_is_promoted_from_its_checkpoint(killed: Killed) -> None:
    records = [json.loads(r) for r in record_files(killed.folder).values()]
    assert sum(r["state"] == "COMPLETE" for r in records[:TRIALS]) == 2  # of 3 for a finalist
    promoted = records[TRIALS]
    pruned = records[promoted["proposal"]["rerun_of"]]
    assert (pruned["state"], promoted["state"]) == ("PRUNED", "COMPLETE")
    assert (promoted["encoder"], promoted["seed"]) == (pruned["encoder"], pruned["seed"])
    assert promoted["history"][:RUNG] == pruned["history"]
    assert promoted["resumes"][-1] >= RUNG
    ahead = sum(epoch["seconds"] for epoch in promoted["history"][RUNG:])
    assert promoted["train_seconds"] == pytest.approx(ahead)


def test_the_finalist_is_trained_to_its_end(killed: Killed) -> None:
    last = json.loads((killed.folder / "records" / "0007.json").read_text())
    assert (last["state"], last["seed"], last["proposal"]["seed"]) == ("COMPLETE", 1, 1)
    assert len(last["history"]) == EPOCHS
    [best] = table(killed.folder / "best_config.csv")
    assert best["seeds"] == "2"


def test_kills_leave_no_trace_in_the_result(killed: Killed) -> None:
    trials = timeless(killed.folder / "trials.csv")
    assert trials == timeless(killed.untouched / "trials.csv")
    for name in ("best_config.csv", "frozen.json"):
        assert (killed.folder / name).read_bytes() == (killed.untouched / name).read_bytes()


def test_nothing_but_files_is_left(killed: Killed) -> None:
    assert not list(killed.folder.glob("encoders/*/last.safetensors"))
    assert not [name for name in contents(killed.folder / "records") if name.startswith(".")]
