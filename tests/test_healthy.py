"""Recordings of healthy machines alone, or without labels, by the real command."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import digests, raysearch, table, write_space

pytestmark = pytest.mark.slow

ONLY: dict[str, Any] = {"lr": 3e-3, "batch_size": 16, "lambda": 1.0, "inlier": {"gmm": [1]}}
HEALTHY = {"validation_ids": [], "search": ONLY}


@dataclass(frozen=True)
class Home:
    """A folder in which commands run, with recordings in it."""

    folder: Path

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run a command and return all that it printed."""
        ended = raysearch(*arguments, folder=self.folder)
        assert ended.code == code, ended
        return ended.out + ended.err

    def search(self, *arguments: object, code: int = 0) -> str:
        return self.run("run", "--machine", "valve", "--no-dashboard", *arguments, code=code)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Home:
    """Recordings without a single test clip."""
    folder = tmp_path_factory.mktemp("healthy")
    shutil.copytree(demo_data, folder / "data", copy_function=os.link)
    for path in (folder / "data").rglob("*_test/*"):
        path.unlink()
    write_space(folder / "only.yaml", test_ids=[], **HEALTHY)
    return Home(folder)


@pytest.fixture(scope="module")
def printed(home: Home) -> str:
    return home.search("--space", "only.yaml")


def test_a_search_that_nothing_can_judge_names_the_way_out(home: Home) -> None:
    write_space(home.folder / "judged.yaml")
    assert "`validation_ids: []` in the space file" in home.search("--space", "judged.yaml", code=2)
    write_space(home.folder / "several.yaml", validation_ids=[], test_ids=[])
    refused = home.search("--space", "several.yaml", "--name", "several", code=2)
    assert "--warm-start RUN" in refused
    assert not (home.folder / "runs" / "several").exists()


def test_a_run_says_what_it_cannot_know(home: Home, printed: str) -> None:
    assert "COMPLETE no validation score with gmm p=1" in printed
    assert "only configuration of valve" in printed
    assert "note: no validation labels: nothing was chosen by a score" in printed
    run = home.folder / "runs" / "valve"
    [trial] = table(run / "trials.csv")
    assert (trial["state"], trial["val_score"], trial["error"]) == ("COMPLETE", "", "")
    assert json.loads((run / "frozen.json").read_text())["val_score"] is None
    assert not [path for kind in ("final_*", "*ledger*", "reference*") for path in run.glob(kind)]
    assert "no report" not in printed
    assert "no single clips" not in printed
    for path in (*run.glob("*.json"), *run.glob("records/*.json"), run / "detector/detector.json"):
        assert "NaN" not in path.read_text(), path
    assert "cannot be drawn" not in (run / "report.html").read_text("utf-8")


def test_its_detector_scores_recordings(home: Home, printed: str) -> None:
    clip = next((home.folder / "data").rglob("valve/train/section_00_*"))
    lines = home.run("score", "runs/valve/detector", clip).splitlines()
    file, identity, score, decision, error = lines[1].split(",")
    assert (file, identity, error) == (str(clip), "0", "")
    assert (float(score) < float("inf"), decision in "01") == (True, True)


def test_thresholds_are_set_afterwards(home: Home, printed: str) -> None:
    path = home.folder / "runs" / "valve" / "detector" / "detector.json"
    before = json.loads(path.read_text())["thresholds"]
    home.run("threshold", "runs/valve", "--quantile", 0.9)
    assert json.loads(path.read_text())["thresholds"] == before
    lines = home.run("threshold", "runs/valve", "--quantile", 0.99, "--id", "00").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("ID 0: ")
    assert "healthy training clips" in lines[0]
    after = json.loads(path.read_text())["thresholds"]
    assert after["0"] > before["0"]
    assert {**after, "0": before["0"]} == before
    home.search("--space", "only.yaml")
    assert json.loads(path.read_text())["thresholds"] == after


def test_the_same_command_trains_nothing_again(home: Home, printed: str) -> None:
    before = digests(home.folder / "runs" / "valve" / "records")
    assert "epoch 1/" not in home.search("--space", "only.yaml")
    assert digests(home.folder / "runs" / "valve" / "records") == before
    assert "no validation score" in home.run("status", "runs")
    home.run("export")


def test_best_config_runs_again_to_the_same_encoder(home: Home, printed: str) -> None:
    home.search("--space", "runs/valve/best_config.yaml", "--name", "again")
    runs = home.folder / "runs"
    encoders = [
        json.loads((runs / name / "frozen.json").read_text())["encoder"]
        for name in ("valve", "again")
    ]
    assert encoders[0] == encoders[1]


def test_another_run_chooses_the_configuration(home: Home, printed: str) -> None:
    home.search("--space", "several.yaml", "--name", "warm", "--warm-start", "runs/valve")
    [trial] = table(home.folder / "runs" / "warm" / "trials.csv")
    assert (trial["lr"], trial["inlier"], trial["p"]) == ("0.003", "gmm", "1")
    assert trial["origin"] == "runs/valve trial 0"


def test_an_ensemble_of_two(home: Home, printed: str) -> None:
    other = {**ONLY, "batch_size": 32}
    write_space(home.folder / "other.yaml", validation_ids=[], test_ids=[], search=other)
    home.search("--space", "other.yaml", "--name", "other")
    out = home.run("ensemble", "runs/valve", "runs/other", "--name", "both")
    assert "no validation score" in out
    assert "no single clips" not in out
    refused = home.run(
        "ensemble", "runs/valve", "runs/other", "--weights", "validation", "--name", "no", code=2
    )
    assert "weights: validation needs validation_ids" in refused


def test_test_ids_are_opened_once_all_the_same(tmp_path: Path, demo_data: Path) -> None:
    (tmp_path / "data").symlink_to(demo_data)
    write_space(tmp_path / "tested.yaml", **HEALTHY)
    tested = Home(tmp_path)
    tested.search("--space", "tested.yaml")
    tested.search("--space", "tested.yaml")
    run = tmp_path / "runs" / "valve"
    results = {row["id"]: row["auc"] for row in table(run / "final_test.csv")}
    assert set(results) == {"3", "4", "5", "hmean"}
    ledger = (run / "test_ledger.jsonl").read_text()
    assert ledger.count('"val_score": null') == 1
    assert "development_dataset: {}" in (run / "submission" / "task2_1.meta.yaml").read_text()
