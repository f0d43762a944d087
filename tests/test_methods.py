"""Every method by the real command, and a search over methods that is killed and resumed.

Only whole runs show that a method reaches its detector, and what a killed search proposes next.
"""

import json
import math
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from upath import UPath

from raysearch.config import PARALLEL, Method
from raysearch.data.dataset import open_data
from raysearch.data.source import make_source
from raysearch.pipeline.fit_detector import build_detector
from raysearch.search.sampler import Sampler
from raysearch.study.bundle import load_detector, save_detector
from raysearch.study.folder import StudyFolder
from raysearch.study.space import check_space
from raysearch.study.space_files import load_space
from raysearch.study.winner import read_frozen
from raysearch.training.conditions import TRAINED
from tests.command import Ended, begin, family, link, settle, table, trial_table, write_space

pytestmark = pytest.mark.slow

METHODS = tuple(name for name in get_args(Method) if name != PARALLEL)
SEARCH: dict[str, Any] = {
    "lr": [3e-3],
    "batch_size": [16, 32],
    "inlier": {"gmm": [1], "none": []},
    "method": list(METHODS),
    "mixup": ["constant", "off"],
    "aam_margin": {"low": 0.1, "high": 0.6},
}
TRIALS = 8


@dataclass(frozen=True)
class Searched:
    """A search over methods that was killed in a trial, and resumed."""

    home: Path
    ended: Ended

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "valve"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Searched:
    home = settle(tmp_path_factory.mktemp("methods") / "home", demo_data, link)
    strategy = {"trials": TRIALS, "finalists": "none", "scheduler": "none"}
    write_space(home / "tiny.yaml", search=SEARCH, strategy=strategy)
    folder = home / "runs" / "valve"
    started = begin(home)
    started.wait_until(
        lambda: (
            len([*folder.glob("records/*.json")]) >= 3
            and any(folder.glob("encoders/*/last.safetensors"))
        )
    )
    with family(started.process.pid):
        started.send(signal.SIGKILL)
        started.process.wait()
        ended = begin(home).wait()
    return Searched(home, ended)


def test_a_killed_search_proposes_what_an_uninterrupted_one_would(searched: Searched) -> None:
    assert searched.ended.code == 0, searched.ended
    study = StudyFolder(UPath(searched.folder))
    space = check_space(study.manifest.space, "study.json")
    trials = study.trials()
    assert len(trials.proposals) == len(trials.records) == TRIALS
    for number, proposal in enumerate(trials.proposals):
        sampler = Sampler(space, None, trials.proposals[:number], trials.records[:number])
        assert sampler.ask() == proposal


def test_a_row_has_what_its_method_has(searched: Searched) -> None:
    rows = trial_table(searched.folder)
    assert {row["method"] for row in rows} >= {"proposed"}
    for row in rows:
        method = row["method"]
        assert bool(row["lr"]) == bool(row["batch_size"]) == (method in TRAINED)
        assert bool(row["lambda"]) == bool(row["mixup"]) == (method == "proposed")
        assert bool(row["aam_margin"]) == (method == "serial_aam")
        assert row["epochs"] == ("2" if method in TRAINED else "0")
        if row["inlier"] == "none":
            assert bool(row["error"]) == (method not in TRAINED)


def test_the_best_configuration_is_a_space_of_its_own(searched: Searched) -> None:
    frozen = read_frozen(UPath(searched.folder))
    assert frozen is not None
    space = load_space(searched.folder / "best_config.yaml")
    (options,) = space.trial_options()
    assert options == frozen.config(load_space(searched.home / "tiny.yaml").fixed).options
    assert (searched.folder / "report.html").is_file()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """Return the folder of a search that tried each method once, for two epochs."""
    home = settle(tmp_path_factory.mktemp("each") / "home", demo_data, link)
    search = {"lr": [3e-3], "batch_size": [16], "lambda": [1.0], "inlier": {"gmm": [1]}}
    write_space(
        home / "tiny.yaml",
        search=search | {"method": list(METHODS)},
        strategy={
            "trials": len(METHODS),
            "sampler": "grid",
            "finalists": "none",
            "scheduler": "none",
        },
    )
    ended = begin(home, "--keep-checkpoints", "--no-report").wait()
    assert ended.code == 0, ended
    return home / "runs" / "valve"


def test_each_method_is_trained_and_scored(tried: Path) -> None:
    rows = trial_table(tried)
    assert sorted(row["method"] for row in rows) == sorted(METHODS)
    for row in rows:
        assert (row["state"], row["error"]) == ("COMPLETE", "")
        assert 0 < float(row["val_score"]) <= 1
        record = json.loads((tried / "records" / f"{int(row['trial']):04d}.json").read_text())
        assert len(record["history"]) == (2 if row["method"] in TRAINED else 0)
    assert [row["id"] for row in table(tried / "final_test.csv")][:3] == ["3", "4", "5"]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_reaches_its_detector(
    tried: Path, tmp_path: Path, demo_data: Path, method: str
) -> None:
    study = StudyFolder(UPath(tried))
    space = check_space(study.manifest.space, "study.json")
    (record,) = (
        record
        for record in study.records()
        if dict(record.proposal.configuration.options)["method"] == method
    )
    frozen = read_frozen(UPath(tried))
    assert frozen is not None
    assert record.best is not None
    winner = replace(
        frozen,
        trial=record.proposal.number,
        encoder=record.encoder,
        configuration=record.proposal.configuration,
        inlier=record.best.spec,
    )
    source = make_source(UPath(demo_data), "valve", ("0", "1", "2"), space.source_options)
    detector = build_detector(winner, space.fixed, open_data(source), UPath(tried))
    save_detector(detector, UPath(tmp_path / "detector"))
    loaded = load_detector(UPath(tmp_path / "detector"))
    clip = next((demo_data / "dev_data" / "valve" / "source_test").glob("section_00_*.wav"))
    (score,) = loaded.score(clip)
    assert score.id == "0"
    assert score.score == detector.score(clip)[0].score
    assert math.isfinite(score.score)
