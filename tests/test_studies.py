"""Several machine types at once, by the real command: one search, a study for each.

Only a whole run shows who gets a slot when, and that the next command resumes all of them.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
from tests.command import Ended, digests, raysearch, record_files, trial_table, write_space
from tests.records import complete, make_manifest, row

pytestmark = pytest.mark.slow

MACHINES = ("fan", "valve", "pump")
COMMAND = (
    *("run", *(f"--machine={machine}" for machine in MACHINES), "--warm-start", "runs/earlier"),
    *("--concurrent", 2, "--no-final", "--no-dashboard"),
)
EARLIER = Proposal(0, Configuration(2e-3, 16, 10.0))


@dataclass(frozen=True)
class Searched:
    """Three studies for two slots, begun by one command and ended by the next.

    Attributes:
        first: ran out of GPU hours in the first trials.
        second: without any trial of pumps that can be scored.
    """

    runs: Path
    first: Ended
    second: Ended


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Searched:
    home = tmp_path_factory.mktemp("studies")
    (home / "data").symlink_to(demo_data)
    (home / "search_spaces").mkdir()
    for machine in MACHINES:
        # More components than a pump has segments: a study without a result.
        inlier = {"gmm": [64]} if machine == "pump" else {"gmm": [1], "lof": [2]}
        write_space(
            home / "search_spaces" / f"{machine}.yaml",
            search={"inlier": inlier},
            strategy={"trials": 2},
        )
    earlier = StudyFolder(UPath(home / "runs" / "earlier"))
    earlier.create(make_manifest(machine="slider"))
    earlier.propose(EARLIER)
    earlier.add(complete(EARLIER, row("gmm", 1, 0.9)))
    first = raysearch(*COMMAND, "--gpu-hours", 1e-6, "--no-report", folder=home)
    return Searched(home / "runs", first, raysearch(*COMMAND, folder=home))


def records(searched: Searched, machine: str) -> list[dict[str, Any]]:
    return [json.loads(r) for r in record_files(searched.runs / machine).values()]


def test_gpu_hours_end_a_search(searched: Searched) -> None:
    assert searched.first.code == 1, searched.first
    assert re.search(
        r"^the GPU hours are spent with \d of 6 trials done; .* resumes", searched.first.out, re.M
    )
    # No trial of pumps has started, which is not reported as a failure.
    assert "pump: no trial has ended yet" in searched.first.err


def test_the_same_command_resumes(searched: Searched) -> None:
    assert "of 2 trials are done" in searched.second.out
    resumed = [
        record["resumes"] for machine in ("fan", "valve") for record in records(searched, machine)
    ]
    assert any(resumed)
    for machine in MACHINES:
        machine_records = records(searched, machine)
        assert [record["proposal"]["number"] for record in machine_records] == [0, 1]
        assert [epoch["epoch"] for record in machine_records for epoch in record["history"]] == [
            1,
            2,
            1,
            2,
        ]


def test_slots_are_shared_fairly_and_who_waits_waits(searched: Searched) -> None:
    assert "pump trial" not in searched.first.out
    events = re.findall(r"^(\w+) trial (\d): (lr|COMPLETE)", searched.second.out, re.M)
    assert {(machine, what) for machine, _, what in events[:2]} == {("fan", "lr"), ("valve", "lr")}
    over = min(events.index((machine, "1", "COMPLETE")) for machine in ("fan", "valve"))
    assert over < events.index(("pump", "0", "lr"))


def test_the_given_study_comes_first_then_what_the_finished_ones_found(
    searched: Searched,
) -> None:
    origins = {
        machine: [record["proposal"]["origin"] for record in records(searched, machine)]
        for machine in MACHINES
    }
    assert origins["fan"] == origins["valve"] == ["runs/earlier trial 0", ""]
    first, second = origins["pump"]
    assert first == "runs/earlier trial 0"
    # Whichever of the two was over first made room for it.
    assert second in ("fan trial 1", "valve trial 1")
    source = trial_table(searched.runs / second.split()[0])
    tried = trial_table(searched.runs / "pump")
    assert {row["origin"] for row in tried} == set(origins["pump"])
    columns = ("lr", "batch_size", "lambda")
    expected = {tuple(row[key] for key in columns) for row in source if row["trial"] == "1"}
    assert {tuple(row[key] for key in columns) for row in tried if row["trial"] == "1"} == expected


def test_a_study_without_a_result_keeps_no_other_from_its_own(searched: Searched) -> None:
    ended = searched.second
    assert ended.code == 1, ended
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("raysearch: pump: none of 2 trials has a score: ")
    for machine in ("fan", "valve"):
        assert f"best configuration of {machine}: " in ended.out
        assert (searched.runs / machine / "detector" / "detector.json").exists()
        assert f"{machine}: the search has ended: 2 trials" in ended.out
    assert not (searched.runs / "pump" / "frozen.json").exists()


def test_curves_of_all_studies_lie_together(searched: Searched) -> None:
    for machine in MACHINES:
        for number in range(2):
            events = searched.runs.glob(f"tune/{machine}_000{number}/events.out.tfevents.*")
            assert any(path.stat().st_size > 0 for path in events)


def test_one_wrong_study_keeps_all_from_being_touched(searched: Searched) -> None:
    shutil.copytree(searched.runs / "fan", searched.runs / "other-fan")
    (searched.runs / "other-valve").mkdir()
    (searched.runs / "other-valve" / "notes.txt").write_text("mine")
    before = digests(searched.runs)
    refused = raysearch(*COMMAND, "--name", "other", "--fresh", folder=searched.runs.parent)
    assert refused.code == 2, refused
    assert refused.err.count("\n") == 1
    assert "other-valve is not empty and no study" in refused.err
    after = digests(searched.runs)
    assert before.items() <= after.items()
    assert {Path(name).suffix for name in after.keys() - before.keys()} == {".lock"}
