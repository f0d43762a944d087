"""An ensemble of two studies that train nothing: scores, weights, thresholds, one final test."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from raysearch import storage
from raysearch.backend.resources import Share
from raysearch.backend.worker import run_worker_trial
from raysearch.data.dataset import TrialData
from raysearch.data.source import make_source
from raysearch.errors import UserError
from raysearch.pipeline.combine import combine
from raysearch.pipeline.ensemble import EnsembleRequest, make_ensemble, plan_ensemble
from raysearch.pipeline.finish import SearchConclusion, finish_study
from raysearch.pipeline.finished import FinishedStudy, read_finished
from raysearch.pipeline.prepare import create_study
from raysearch.pipeline.request import Ending
from raysearch.scoring.spec import InlierSpec
from raysearch.storage import write_text
from raysearch.study.bundle import load_detector
from raysearch.study.context import StudyContext
from raysearch.study.ensemble import Ensemble
from raysearch.study.ledger import read_ledger
from raysearch.study.manifest import read_manifest
from raysearch.study.members import Weights
from raysearch.study.records import Proposal
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from tests.command import table
from tests.tiny import TINY, VALIDATION_IDS, open_valve

MODELS = {"distance": InlierSpec("mahalanobis", 0.1), "nearest": InlierSpec("knn", 1)}
ENDING = Ending("raysearch ensemble")


def search(root: Path, folder: UPath, spec: InlierSpec) -> TrialData:
    """Search a study of one trial of the method `baseline`; return its recordings."""
    fixed = TINY.model_dump() | {"method": "baseline", "inlier_fit": "all"}
    space = Space.model_validate(
        {"search": {"inlier": {spec.name: [spec.p]}}, "fixed": fixed, "strategy": {"trials": 1}}
    )
    source = make_source(root, "valve", VALIDATION_IDS, space.source_options)
    data = open_valve(root)
    context = StudyContext(folder, source, data.fingerprint, space)
    create_study(context, data, space_file="baseline.yaml", command="raysearch run")
    proposal = Proposal(0, Configuration(None, None, None))
    context.study.propose(proposal)
    run_worker_trial(context, proposal, Share(1, 1, 0, 1), lambda result: None)
    ending = Ending("raysearch run", final=False, report=False)
    finish_study(SearchConclusion(context, data), context, data, ending)
    return data


@dataclass(frozen=True)
class Pair:
    """Two finished studies and the folder of their ensembles."""

    home: UPath
    data: TrialData

    @property
    def folders(self) -> list[UPath]:
        return [self.home / name for name in MODELS]

    @property
    def studies(self) -> dict[str, FinishedStudy]:
        return {name: read_finished(self.home / name) for name in MODELS}

    def make(self, name: str, weights: Weights = "equal", *, fresh: bool = False) -> UPath:
        planned = plan_ensemble(self.folders, self.home, name, weights)
        make_ensemble(EnsembleRequest(planned, ENDING, fresh=fresh))
        return planned.folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Pair:
    home = storage.to_path(tmp_path_factory.mktemp("members"))
    (data, _) = [search(demo_data, home / name, spec) for name, spec in MODELS.items()]
    return Pair(home, data)


@pytest.fixture(scope="module")
def folder(pair: Pair) -> UPath:
    return pair.make("both")


def test_an_ensemble_meets_the_test_ids_once(pair: Pair, folder: UPath) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (opening,) = read_ledger(folder, read_manifest(folder).started).openings
    assert opening.test_ids == ("3", "4", "5")
    rows = table(Path(str(folder / "final_test.csv")))
    assert [row["id"] for row in rows] == ["3", "4", "5", "hmean"]
    assert "valve" in (folder / "report.html").read_text("utf-8")
    pair.make("both")
    for name, content in before.items():
        if name != "report.html":
            assert (folder / name).read_bytes() == content, name


def test_the_detector_gives_the_scores_of_the_final_test(folder: UPath, demo_data: Path) -> None:
    detector = load_detector(folder / "detector")
    assert isinstance(detector, Ensemble)
    final = {r["clip"]: r["score"] for r in table(Path(str(folder / "final_scores.csv")))}
    for path in sorted((demo_data / "eval_data/valve/source_test").glob("section_03*.wav"))[:4]:
        (score,) = detector.score(path)
        assert score.score == pytest.approx(float(final[path.name]), abs=1e-5)


def test_weights_chosen_on_the_validation_ids_score_no_less_there(pair: Pair) -> None:
    equal = combine(pair.studies, pair.data, "equal")
    chosen = combine(pair.studies, pair.data, "validation")
    assert [member.weight for member in equal.ensemble.members] == [0.5, 0.5]
    assert sum(member.weight for member in chosen.ensemble.members) == pytest.approx(1)
    assert chosen.validation_score.hmean >= equal.validation_score.hmean


def test_a_threshold_leaves_most_healthy_clips_below(pair: Pair) -> None:
    """Both models are fitted to every training clip, which tells them nothing of a new one."""
    combination = combine(pair.studies, pair.data, "equal")
    rates = {
        identity: float(np.mean(scores[labels == 0] > combination.ensemble.thresholds[identity]))
        for identity, (labels, scores) in combination.validation_clips.items()
    }
    assert all(rate < 0.5 for rate in rates.values()), rates


def test_other_weights_are_another_study(pair: Pair) -> None:
    folder = pair.make("weighted")
    with pytest.raises(UserError, match="weighted"):
        pair.make("weighted", "validation")
    pair.make("weighted", "validation", fresh=True)
    assert json.loads((folder / "study.json").read_text())["space"]["weights"] == "validation"


def test_another_winner_of_a_member_makes_the_ensemble_anew(pair: Pair) -> None:
    folder = pair.make("changed")
    frozen = pair.home / "nearest" / "frozen.json"
    before = frozen.read_text()
    earlier = (folder / "frozen.json").read_text()
    facts, tested = json.loads(before), (folder / "final_test.csv").read_bytes()
    try:
        write_text(frozen, json.dumps(facts | {"seed": 7}))
        pair.make("changed")
    finally:
        write_text(frozen, before)
    assert (folder / "frozen.json").read_text() != earlier
    # The first figure stays, and says that it is of an earlier winner.
    assert (folder / "final_test.csv").read_bytes() == tested
    assert "of an earlier winner" in (folder / "report.html").read_text("utf-8")
