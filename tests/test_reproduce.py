"""A table of the paper by the real command: killed once, resumed, and shared with another table."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from statistics import harmonic_mean

import pytest

from tests.command import (
    Ended,
    Started,
    digests,
    family,
    link,
    openings,
    settle,
    table,
    trial_table,
    write_space,
)

pytestmark = pytest.mark.slow

MACHINES = ("fan", "valve")
ARGUMENTS = (
    *("--machine", "valve", "--machine", "fan", "--space", "tiny.yaml", "--out", "paper"),
    *("--concurrent", "2", "--no-dashboard"),
)


def reproduce(home: Path, target: str) -> Started:
    return Started(["reproduce", target, *ARGUMENTS], home)


@dataclass(frozen=True)
class Reproduced:
    """Table III, killed in a trial and resumed."""

    home: Path
    ended: Ended

    @property
    def out(self) -> Path:
        return self.home / "paper"

    def trained(self) -> dict[str, bytes]:
        """Read the records of all studies."""
        paths = sorted(self.out.glob("*/records/*.json"))
        return {str(path.relative_to(self.out)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Reproduced:
    home = settle(tmp_path_factory.mktemp("reproduce") / "home", demo_data, link)
    search = {"lr": [3e-3], "batch_size": [16], "lambda": [1.0], "inlier": {"gmm": [1], "none": []}}
    write_space(home / "tiny.yaml", search=search, strategy={"trials": 1})
    started = reproduce(home, "table3")
    started.wait_until(lambda: len([*home.glob("paper/*/records/*.json")]) >= 2)
    with family(started.process.pid):
        started.send(signal.SIGKILL)
        started.process.wait()
    return Reproduced(home, reproduce(home, "table3").wait())


def test_every_row_is_filled(reproduced: Reproduced) -> None:
    assert reproduced.ended.code == 0, reproduced.ended
    rows = table(reproduced.out / "table3.csv")
    assert [row["system"] for row in rows[::3]] == [
        *("Proposed", "without Mixup", "without h", "only product IDs")
    ]
    assert [row["machine"] for row in rows[:3]] == ["fan", "valve", "All"]
    # Six clips of a kind are too few for an interval.
    assert {(row.pop("low"), row.pop("high")) for row in rows} == {("", "")}
    assert all(value for row in rows for value in row.values())
    for k in range(0, len(rows), 3):
        scores = [float(row["ours"]) for row in rows[k : k + 3]]
        assert scores[2] == pytest.approx(harmonic_mean(scores[:2]), abs=1e-9)


def test_the_cells_are_the_final_tests(reproduced: Reproduced) -> None:
    names = {"Proposed": "proposed", "without h": "without-h"}
    for row in table(reproduced.out / "table3.csv"):
        if row["system"] not in names or row["machine"] == "All":
            continue
        folder = reproduced.out / f"{names[row['system']]}-{row['machine']}"
        rows = [line for line in table(folder / "final_test.csv") if line["id"] != "hmean"]
        areas = [float(line[kind]) for line in rows for kind in ("auc", "pauc")]
        assert float(row["ours"]) == pytest.approx(harmonic_mean(areas), abs=1e-9)


def test_the_ablation_without_an_inlier_model_trains_nothing(reproduced: Reproduced) -> None:
    for machine in MACHINES:
        (origin,) = trial_table(reproduced.out / f"proposed-{machine}")
        (row,) = trial_table(reproduced.out / f"without-h-{machine}")
        assert row["encoder"] == origin["encoder"]
        assert (row["inlier"], origin["inlier"]) == ("none", "gmm")
        weights = [
            reproduced.out / f"{name}-{machine}" / "encoders" / row["encoder"] / "best.safetensors"
            for name in ("proposed", "without-h")
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_no_test_id_is_opened_twice(reproduced: Reproduced) -> None:
    ledgers = sorted(reproduced.out.glob("*/test_ledger.jsonl"))
    assert len(ledgers) == 4 * len(MACHINES)
    assert all(len(openings(path.parent)) == 1 for path in ledgers)


def test_another_target_takes_the_studies_that_are_there(reproduced: Reproduced) -> None:
    before = reproduced.trained()
    ended = reproduce(reproduced.home, "table1").wait()
    assert ended.code == 0, ended
    assert reproduced.trained() == before
    rows = {row["parameter"]: row for row in table(reproduced.out / "table1.csv")}
    assert rows["lr"]["valve"] == "0.003"
    assert rows["lr, paper"]["valve"] == "0.0005"
    assert "| lr, paper" in ended.out


def test_a_second_seed_is_a_repetition(reproduced: Reproduced, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ignore = shutil.ignore_patterns("data", "*.out", "*.err")
    shutil.copytree(reproduced.home, home, ignore=ignore)
    link(reproduced.home / "data", home / "data")
    before = digests(home / "paper" / "proposed-valve" / "records")
    arguments = (*ARGUMENTS[2:], "--machine", "valve", "--seeds", "2", "--no-report")
    ended = Started(["reproduce", "table1", *arguments], home).wait()
    assert ended.code == 0, ended
    assert digests(home / "paper" / "proposed-valve" / "records") == before
    (first,) = trial_table(home / "paper" / "proposed-valve")
    (second,) = trial_table(home / "paper" / "proposed-seed1-valve")
    assert (first["seed"], second["seed"]) == ("0", "1")
    assert first["encoder"] != second["encoder"]


def test_an_ablation_follows_a_new_winner(reproduced: Reproduced, tmp_path: Path) -> None:
    """More trials may find another winner, whose encoder is scored instead."""
    home = tmp_path / "home"
    shutil.copytree(reproduced.home, home, ignore=shutil.ignore_patterns("data", "*.out", "*.err"))
    link(reproduced.home / "data", home / "data")
    folder = home / "paper" / "without-h-valve"
    for path in (folder / "study.json", folder / "frozen.json"):
        path.write_text(path.read_text().replace("0.003", "0.005"))
    arguments = (*ARGUMENTS[2:], "--machine", "valve", "--no-report")
    ended = Started(["reproduce", "table3", *arguments], home).wait()
    assert ended.code == 0, ended
    (origin,) = trial_table(home / "paper" / "proposed-valve")
    (row,) = trial_table(folder)
    assert (row["lr"], row["encoder"]) == (origin["lr"], origin["encoder"])
    # It is the configuration that met the test IDs.
    assert len(openings(folder)) == 1
