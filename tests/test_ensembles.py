"""Ensembles by the real command: their members, their scores, their only final test."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from upath import UPath

from raysearch.scoring.metrics import machine_score
from raysearch.storage import to_path
from raysearch.study.bundle import load_detector
from raysearch.study.ensemble import Ensemble
from raysearch.study.locking import lock
from raysearch.study.space_files import load_space
from tests.command import (
    Ended,
    begin,
    copy_without_times,
    digests,
    link,
    openings,
    raysearch,
    settle,
    table,
    trial_table,
    write_space,
)

pytestmark = pytest.mark.slow

MEMBERS = ("proposed", "autoencoder", "baseline")
SPACE = {
    "search": {"lr": [3e-3], "batch_size": [16], "lambda": [1.0], "inlier": {"gmm": [1]}},
    "fixed": {"method": "parallel"},
    "strategy": {"trials": 1},
}
PARTS = {
    "proposed": {"fixed": {"method": "proposed"}},
    "autoencoder": {"fixed": {"method": "autoencoder"}, "search": {"inlier": {"none": []}}},
    "baseline": {
        "fixed": {"method": "baseline", "inlier_fit": "all"},
        "search": {"inlier": {"knn": [1]}},
    },
}


@dataclass(frozen=True)
class Run:
    """A run of the method `parallel`, and an ensemble of two of its members."""

    home: Path
    ended: Ended
    combined: Ended

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "valve"

    def member(self, name: str) -> Path:
        return self.home / "runs" / f"{name}-valve"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Run:
    home = settle(tmp_path_factory.mktemp("parallel") / "home", demo_data, link)
    write_space(home / "tiny.yaml", **SPACE)
    text = (home / "tiny.yaml").read_text()
    (home / "tiny.yaml").write_text(text + f"members: {json.dumps(PARTS)}\n")
    ended = begin(home).wait()
    pair = ("runs/baseline-valve", "runs/proposed-valve")
    weighted = ("--weights", "validation", "--name", "pair")
    combined = raysearch("ensemble", *pair, *weighted, folder=home)
    return Run(home, ended, combined)


def test_members_are_searched_and_only_the_ensemble_is_tested(run: Run) -> None:
    assert run.ended.code == 0, run.ended
    for name in MEMBERS:
        assert (run.member(name) / "frozen.json").is_file()
        assert not (run.member(name) / "test_ledger.jsonl").exists()
        assert not (run.member(name) / "final_test.csv").exists()
    (entry,) = openings(run.folder)
    assert entry["test_ids"] == ["3", "4", "5"]
    assert [row["id"] for row in table(run.folder / "final_test.csv")] == ["3", "4", "5", "hmean"]
    for name in ("report.html", "best_config.md", "trials.csv", "submission"):
        assert (run.folder / name).exists()


def test_the_validation_score_is_that_of_the_averaged_scores(run: Run) -> None:
    ensemble = load_detector(UPath(run.folder / "detector"))
    assert isinstance(ensemble, Ensemble)
    assert [member.weight for member in ensemble.members] == pytest.approx([1 / 3] * 3)
    labels: dict[str, list[int]] = {}
    scores: dict[str, list[float]] = {}
    for path in sorted((run.home / "data/dev_data/valve/source_test").glob("*.wav")):
        (whole,) = ensemble.score(path)
        parts = [member.detector.score(path)[0].score for member in ensemble.members]
        normal = [member.normal[whole.id] for member in ensemble.members]
        average = np.mean([(s - m) / d for s, (m, d) in zip(parts, normal, strict=True)])
        assert whole.score == pytest.approx(average, abs=1e-9)
        labels.setdefault(whole.id, []).append(int("anomaly" in path.name))
        scores.setdefault(whole.id, []).append(float(average))
    result = machine_score(
        {i: np.array(values) for i, values in labels.items()},
        {i: np.array(values) for i, values in scores.items()},
    )
    (row,) = trial_table(run.folder)
    assert float(row["val_score"]) == pytest.approx(result.hmean, abs=1e-6)


def test_a_member_is_standardised_by_normal_training_clips(run: Run) -> None:
    ensemble = load_detector(UPath(run.folder / "detector"))
    assert isinstance(ensemble, Ensemble)
    member = ensemble.members[1]
    assert member.name == "autoencoder"
    paths = [
        path
        for part in ("dev_data", "eval_data")
        for path in sorted((run.home / f"data/{part}/valve/train").glob("section_03_source*.wav"))
    ]
    scores = np.array([member.detector.score(path)[0].score for path in paths])
    mean, std = member.normal["3"]
    # One of the clips is held out, and an error is all the model of an autoencoder.
    assert len(scores) > 4
    assert mean == pytest.approx(scores.mean(), abs=scores.std())
    assert std == pytest.approx(scores.std(), rel=0.5)


def test_a_model_does_not_judge_the_clips_it_was_fitted_on(run: Run) -> None:
    """A clip that is its own nearest neighbour has a score of 0, and all of them no spread."""
    ensemble = load_detector(UPath(run.folder / "detector"))
    assert isinstance(ensemble, Ensemble)
    member = ensemble.members[2]
    assert member.name == "baseline"
    path = sorted((run.home / "data/dev_data/valve/train").glob("section_00_source*.wav"))[0]
    assert member.detector.score(path)[0].score == pytest.approx(0, abs=1e-3)
    for mean, std in member.normal.values():
        assert mean > std > 1e-3


def test_an_outlier_among_the_test_clips_changes_no_other_score(
    run: Run, tmp_path: Path, demo_data: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(run.home, home, ignore=shutil.ignore_patterns("data", "*.out", "*.err"))
    copy_without_times(demo_data, home / "data")
    before = {row["clip"]: row["score"] for row in table(home / "runs/valve/final_scores.csv")}
    noise = np.random.default_rng(0).normal(0, 0.3, 3 * 16000)
    tests = home / "data/eval_data/valve/source_test"
    soundfile.write(tests / "section_03_source_test_9999.wav", noise, 16000)
    shutil.rmtree(home / "runs/valve")
    ended = begin(home, "--no-report").wait()
    assert ended.code == 0, ended
    rows = table(home / "runs/valve/final_scores.csv")
    after = {row["clip"]: row["score"] for row in rows}
    assert after.pop("section_03_source_test_9999.wav")
    assert after == before


def test_the_same_command_again_changes_nothing(run: Run) -> None:
    before = digests(run.folder)
    ended = begin(run.home).wait()
    assert ended.code == 0, ended
    after = digests(run.folder)
    assert {name for name in before if before[name] != after[name]} <= {"report.html"}
    assert before.keys() == after.keys()


def test_the_best_configuration_is_a_space_of_the_same_members(run: Run) -> None:
    space = load_space(run.folder / "best_config.yaml")
    assert list(space.members) == list(MEMBERS)
    for name in MEMBERS:
        frozen = json.loads((run.member(name) / "frozen.json").read_text())
        member = space.member(name)
        assert member.fixed.method == name
        assert member.search.lr == (None if frozen["lr"] is None else (frozen["lr"],))
        assert [str(spec.name) for spec in member.search.specs] == [frozen["inlier"]]


def test_commands_on_results_take_an_ensemble(run: Run) -> None:
    status = raysearch("status", "runs/valve", folder=run.home)
    assert "parallel" in status.out
    clip = sorted((run.home / "data/eval_data/valve/source_test").glob("section_03*.wav"))[0]
    scored = raysearch("score", "runs/valve/detector", str(clip), folder=run.home)
    final = {row["clip"]: row["score"] for row in table(run.folder / "final_scores.csv")}
    assert scored.out.splitlines()[1].split(",")[2] == final[clip.name]
    compared = raysearch("compare", "runs/valve", "runs/proposed-valve", folder=run.home)
    assert compared.code == 0, compared
    assert "parallel" in compared.out
    exported = raysearch("export", folder=run.home)
    assert exported.code == 0, exported
    assert "parallel" in (run.home / "runs" / "results.md").read_text()


def test_weights_may_be_chosen_on_the_validation_ids(run: Run) -> None:
    assert run.combined.code == 0, run.combined
    folder = run.home / "runs" / "pair"
    facts = json.loads((folder / "detector" / "detector.json").read_text())
    weights = [member["weight"] for member in facts["members"]]
    assert [member["name"] for member in facts["members"]] == ["baseline-valve", "proposed-valve"]
    assert sum(weights) == pytest.approx(1)
    single = [
        float(trial_table(run.member(name))[0]["val_score"]) for name in ("proposed", "baseline")
    ]
    score = float(trial_table(folder)[0]["val_score"])
    assert score >= max(single) - 1e-6
    assert "optimistic" in (folder / "report.html").read_text()


def test_a_member_that_is_searched_meanwhile_is_waited_for(run: Run) -> None:
    with lock(to_path(run.member("proposed")), timeout=1):
        ended = raysearch("ensemble", "runs/proposed-valve", "runs/baseline-valve", folder=run.home)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "another raysearch is running runs/proposed-valve" in ended.err
    assert not (run.home / "runs" / "ensemble-valve").exists()


def test_fresh_makes_an_ensemble_anew(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(run.home, home, ignore=shutil.ignore_patterns("data", "*.out", "*.err"))
    link(run.home / "data", home / "data")
    started = json.loads((home / "runs/pair/study.json").read_text())["command"]
    pair = ("runs/proposed-valve", "runs/autoencoder-valve", "--name", "pair")
    ended = raysearch("ensemble", *pair, "--fresh", "--no-report", folder=home)
    assert ended.code == 0, ended
    assert json.loads((home / "runs/pair/study.json").read_text())["command"] != started
    facts = json.loads((home / "runs/pair/detector/detector.json").read_text())
    assert [member["name"] for member in facts["members"]] == [
        *("proposed-valve", "autoencoder-valve")
    ]
    assert len(openings(home / "runs/pair")) == 2  # What was opened before stays on record.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/proposed-valve"], "an ensemble needs at least two runs"),
        (["runs/proposed-valve", "runs/proposed-valve"], "proposed-valve is named twice"),
        (["runs/proposed-valve", "runs/valve"], "runs/valve is an ensemble"),
        (["runs/proposed-valve", "runs/nothing"], "runs/nothing holds no study"),
        (
            ["runs/proposed-valve", "runs/autoencoder-valve", "--name", "pair"],
            "runs/pair holds another study; use --fresh",
        ),
        (
            ["runs/proposed-valve", "runs/autoencoder-valve", "--name", "baseline-valve"],
            "runs/baseline-valve holds another study; use --fresh",
        ),
        (
            [
                "runs/proposed-valve",
                "runs/autoencoder-valve",
                "--name",
                "proposed-valve",
                "--fresh",
            ],
            "runs/proposed-valve is a member; choose another --name",
        ),
    ],
)
def test_runs_that_do_not_fit_are_refused(run: Run, arguments: list[str], message: str) -> None:
    before = digests(run.home / "runs")
    ended = raysearch("ensemble", *arguments, folder=run.home)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert digests(run.home / "runs") == before
