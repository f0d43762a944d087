"""Every method by the real command, and a search over methods that is killed and resumed.

Only whole runs show that a method reaches its detector, and what a killed search proposes next.
"""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import soundfile
from upath import UPath

from raysearch.config import TRAINED, Method
from raysearch.search.sampler import Sampler
from raysearch.study.folder import StudyFolder
from raysearch.study.space import check_space, load_space
from raysearch.study.winner import read_frozen
from tests.command import Ended, begin, family, link, raysearch, settle, table, write_space

pytestmark = pytest.mark.slow

METHODS: tuple[str, ...] = get_args(Method)
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
    rows = table(searched.folder / "trials.csv")
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


@pytest.mark.parametrize("method", METHODS)
def test_a_method_reaches_its_detector(tmp_path: Path, demo_data: Path, method: str) -> None:
    home = settle(tmp_path / "home", demo_data, link)
    write_space(
        home / "tiny.yaml",
        search={"lr": 3e-3, "batch_size": 16, "lambda": 1.0, "inlier": {"gmm": [1]}},
        fixed={"method": method},
        strategy={"trials": 1},
    )
    ended = begin(home, "--no-report").wait()
    assert ended.code == 0, ended
    folder = home / "runs" / "valve"
    (record,) = (json.loads(path.read_text()) for path in folder.glob("records/*.json"))
    assert len(record["history"]) == (2 if method in TRAINED else 0)
    final = table(folder / "final_test.csv")
    assert [row["id"] for row in final][:3] == ["3", "4", "5"]
    assert all(0 <= float(row["auc"]) <= 1 for row in final[:3])
    clip = next((demo_data / "dev_data" / "valve" / "source_test").glob("section_00_*.wav"))
    samples, rate = soundfile.read(clip)
    soundfile.write(home / "new.wav", samples, rate)
    scored = raysearch("score", folder / "detector", "new.wav", "--id", "0", folder=home)
    assert scored.code == 0, scored
    assert "new.wav" in scored.out
