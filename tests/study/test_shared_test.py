"""The final test of a shared search: one opening for all test machines, and one result."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from raysearch.data.ground_truth import read_ground_truth
from raysearch.data.source import Source
from raysearch.errors import DataError
from raysearch.scoring.metrics import auc_pauc, harmonic_mean
from raysearch.scoring.spec import InlierSpec
from raysearch.study.context import StudyContext
from raysearch.study.ledger import FinalRequest, read_ledger
from raysearch.study.machines import SHARED
from raysearch.study.scores import FinalTest
from raysearch.study.shared_test import UnseenMachine, shared_final_test
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from tests.detectors import make_detector
from tests.records import SPACE, make_manifest

MACHINES, IDS = ("fan", "pump"), ("3", "4")
WINNER = Winner(
    SHARED, 0, "encoder0", Configuration(1e-3, 32, 10.0), InlierSpec("gmm", 2), 0.7, 0, "data"
)


def space() -> Space:
    machines = {"validation_machines": ["valve", "slider"], "test_machines": [*MACHINES]}
    return check_space({**SPACE, **machines, "test_ids": [*IDS]}, "shared.yaml")


@pytest.fixture
def root(tmp_path: Path, demo_data: Path) -> Path:
    """Link the evaluation clips of the demo data set into a folder that the test may change."""
    return shutil.copytree(demo_data, tmp_path / "data", copy_function=os.link)


def run(
    root: Path, folder: Path, *, reference: bool = True, allow_defects: bool = False
) -> FinalTest:
    folder.mkdir()
    make_manifest(space(), SHARED).write(UPath(folder))
    detector = make_detector(ids=("0", *IDS))
    other = make_detector(ids=("0", *IDS), embedding=16)
    machines = [
        UnseenMachine(
            replace(Source(root, name, ()), allow_defects=allow_defects),
            detector,
            other if reference else None,
        )
        for name in MACHINES
    ]
    context = StudyContext(
        UPath(folder), replace(machines[0].source, machine=SHARED), "data", space()
    )
    return shared_final_test(WINNER, machines, context, request=FinalRequest("raysearch run"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def ledger(folder: Path) -> list[dict[str, Any]]:
    path = folder / "test_ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_score_is_the_harmonic_mean_over_all_test_machines(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(root, folder)
    scores = rows(folder / "final_scores.csv")
    expected = {}
    for machine in MACHINES:
        truth = read_ground_truth(root, machine, IDS)
        for identity in IDS:
            clips = [row for row in scores if row["id"] == f"{machine}/{identity}"]
            labels = [truth[identity, row["clip"]] for row in clips]
            values = [float(row["score"]) for row in clips]
            assert len(clips) == 12
            expected[f"{machine}/{identity}"] = auc_pauc(labels, values)  # type: ignore[arg-type]
    assert dict(result.areas) == expected
    assert result.score == harmonic_mean(value for pair in expected.values() for value in pair)
    assert [row["id"] for row in rows(folder / "final_test.csv")] == [*expected, "hmean"]
    assert {row["machine"] for row in rows(folder / "final_test.csv")} == {SHARED}
    assert result.reference is not None
    assert result.reference != result.score
    *reference, mean = rows(folder / "reference_test.csv")
    assert [row["id"] for row in reference] == [*expected]
    assert float(mean["auc"]) != float(rows(folder / "final_test.csv")[-1]["auc"])


def test_there_is_one_opening_of_all(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(root, folder, reference=False)
    opening, ended = ledger(folder)
    assert opening["test_ids"] == ["fan/3", "fan/4", "pump/3", "pump/4"]
    assert opening["clips"] == 48
    assert opening["frozen"] == WINNER.to_json()
    assert (ended["score"], ended["reference"]) == (result.score, None)
    started = make_manifest(space(), SHARED).started
    assert read_ledger(UPath(folder), started).result_of(WINNER) is not None
    assert {path.name for path in (folder / "submission").glob("anomaly_score*")} == {
        f"anomaly_score_{machine}_section_0{i}_source_test.csv" for machine in MACHINES for i in IDS
    }


def test_nothing_is_opened_unless_every_test_machine_has_test_clips(
    root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root / "eval_data/pump/source_test")
    result = run(root, tmp_path / "run")
    assert result == FinalTest(remarks=("no final test: there are no test clips of pump",))
    assert ledger(tmp_path / "run") == []


def test_the_ledger_has_its_line_before_a_clip_is_read(root: Path, tmp_path: Path) -> None:
    for path in (root / "eval_data/fan/source_test").glob("section_03*"):
        path.unlink()
        path.write_bytes(b"garbage")
    with pytest.raises(DataError, match="test clips are defective"):
        run(root, tmp_path / "run")
    (opening,) = ledger(tmp_path / "run")
    assert opening["frozen"] == WINNER.to_json()


def test_a_defective_clip_is_told_with_its_machine_type(root: Path, tmp_path: Path) -> None:
    first = min((root / "eval_data/pump/source_test").glob("section_03*"))
    first.unlink()
    first.write_bytes(b"garbage")
    (remark,) = run(root, tmp_path / "run", allow_defects=True).remarks
    assert remark.startswith("pump: ")
    assert first.name in remark
