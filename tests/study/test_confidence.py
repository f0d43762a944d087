"""Confidence in a winner, from the encoders of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from upath import UPath

from raysearch.data.dataset import TrialData
from raysearch.scoring.jackknife import clip_score
from raysearch.scoring.metrics import ClipScores
from raysearch.storage import make_folder, write_text
from raysearch.study.confidence import (
    Confidence,
    final_intervals,
    no_final_interval,
    read_confidence,
    write_confidence,
)
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import Ranking, rank
from raysearch.study.records import Proposal, Record
from raysearch.study.resampling import measure_confidence, resample_scores
from raysearch.study.scores import clip_scores_by_id
from raysearch.training.configuration import Configuration
from raysearch.training.network import new_encoder
from tests.files import put_checkpoint
from tests.records import complete, row
from tests.runs import final_scores
from tests.tiny import TEN, open_valve


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture
def study(tmp_path: Path, data: TrialData) -> StudyFolder:
    return make_study(UPath(tmp_path), data)


def make_study(folder: UPath, data: TrialData) -> StudyFolder:
    """Write four untrained encoders; 0 and 3 are the same."""
    study = StudyFolder(folder)
    for number, seed in enumerate([0, 1, 2, 0]):
        torch.manual_seed(seed)
        tensors = new_encoder(TEN, len(data.ids), pretrained=False).state_dict()
        path = study.encoder(f"encoder{number}") / "best.safetensors"
        put_checkpoint(path, tensors, {"history": [], "resumes": []})
    return study


def trial(number: int, score: float, of: int | None = None) -> Record:
    lr = 1e-3 * (1 + (number if of is None else of))
    return complete(Proposal(number, Configuration(lr, 16, 1.0), rerun_of=of), row("lof", 4, score))


def ranking(*records: Record) -> Ranking:
    result = rank(records)
    assert result is not None
    return result


def measured(
    ranked: Ranking, study: StudyFolder, data: TrialData, previous: Confidence | None = None
) -> tuple[Confidence, int]:
    """Return the confidence, and the number of encoders that were scored."""
    advances: list[int] = []
    confidence = measure_confidence(
        ranked, previous or Confidence(), TEN, data, study, advances.append
    )
    return confidence, sum(advances)


def test_few_clips_have_a_reason_and_no_interval(study: StudyFolder, data: TrialData) -> None:
    confidence, encoders = measured(ranking(trial(0, 0.9), trial(1, 0.8, of=0)), study, data)
    assert (confidence.low, confidence.high, confidence.lead_low) == (None, None, None)
    assert confidence.missing == "too few clips for an interval: 6 normal, 6 anomalous"
    assert (encoders, confidence.is_noise, confidence.is_beyond_noise) == (2, False, False)
    assert confidence.of == (("encoder0", "lof", 4), ("encoder1", "lof", 4))


def clip_scores(*shifts: float) -> list[ClipScores]:
    """Scores of 40 clips of two IDs by some encoders; anomalies score higher by a shift."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.array([0, 1], np.int64), 20)
    noise = {identity: rng.normal(size=40) for identity in "01"}
    return [{i: (labels, noise[i] + shift * labels) for i in noise} for shift in shifts]


def test_the_interval_holds_the_mean_over_the_seeds() -> None:
    runs = clip_scores(1.0, 1.3)
    confidence = resample_scores(runs, [])
    mean = float(np.mean([clip_score(run) for run in runs]))
    assert confidence.low is not None
    assert confidence.high is not None
    assert confidence.low < mean < confidence.high
    assert (confidence.lead_low, confidence.is_noise, confidence.missing) == (None, False, "")
    assert replace(confidence, of=(("a", "lof", 4), ("b", "lof", 4))).over == "clips and seeds"
    assert replace(confidence, of=(("a", "lof", 4),)).over == "clips"


def test_identical_encoders_are_within_noise() -> None:
    runs = clip_scores(1.0, 1.3)
    confidence = resample_scores(runs, runs)
    assert confidence.lead_low is not None
    assert confidence.lead_low < 0 < (confidence.lead_high or 0)
    assert confidence.is_noise
    assert not confidence.is_beyond_noise


def test_a_lead_is_of_as_many_seeds_as_both_have() -> None:
    confidence = resample_scores(clip_scores(1.5, 1.6, 9.0), clip_scores(0.1, 0.2))
    assert confidence.is_beyond_noise
    assert (confidence.lead_high or 0) < 0.6


def test_one_seed_makes_no_claim(study: StudyFolder, data: TrialData) -> None:
    confidence, encoders = measured(ranking(trial(0, 0.9), trial(3, 0.1)), study, data)
    assert (encoders, confidence.against, confidence.lead_low) == (1, (), None)
    assert resample_scores(clip_scores(9.0), clip_scores(0.1)).lead_low is None


def test_the_choice_is_counted_and_its_optimism_estimated(
    study: StudyFolder, data: TrialData
) -> None:
    confidence, _ = measured(ranking(trial(0, 0.9), trial(3, 0.8)), study, data)
    assert confidence.choices == 2
    assert confidence.unselected == pytest.approx(0.9)


def test_an_interval_of_an_earlier_rule_is_measured_again(
    study: StudyFolder, data: TrialData
) -> None:
    ranked = ranking(trial(0, 0.9))
    confidence, _ = measured(ranked, study, data)
    assert measured(ranked, study, data, previous=confidence) == (confidence, 0)
    assert measured(ranked, study, data, previous=replace(confidence, rule=1)) == (confidence, 1)
    write_text(study.path / "confidence.json", '{"of": [], "against": [], "low": 0.5}')
    assert read_confidence(study.path).rule == 1


def test_a_lead_above_zero_is_beyond_noise() -> None:
    assert not Confidence(low=0.8, high=0.9, lead_low=0.01, lead_high=0.2).is_noise
    assert Confidence(low=0.8, high=0.9, lead_low=-0.01, lead_high=0.2).is_noise


def pairs() -> list[Record]:
    """Return two configurations with two seeds each."""
    return [trial(0, 0.9), trial(1, 0.8), trial(2, 0.9, of=0), trial(3, 0.7, of=1)]


def test_an_earlier_result_is_reused(folder: UPath, data: TrialData) -> None:
    study, ranked = make_study(folder, data), ranking(*pairs())
    confidence, encoders = measured(ranked, study, data)
    assert (encoders, len(confidence.of), len(confidence.against)) == (4, 2, 2)
    assert measured(ranked, study, data) == (confidence, 4)
    # After a run only the winner's encoders are left.
    study.drop_checkpoints("encoder1")
    assert measured(ranked, study, data, previous=confidence) == (confidence, 0)
    alone, encoders = measured(ranked, study, data)
    assert (encoders, alone.against) == (2, ())
    assert measured(ranked, study, data, previous=alone) == (alone, 0)


def test_without_its_encoders_there_is_nothing_to_measure(
    study: StudyFolder, data: TrialData
) -> None:
    study.drop_checkpoints("encoder0")
    confidence, encoders = measured(ranking(trial(0, 0.9), trial(1, 0.8)), study, data)
    assert (encoders, confidence.of, confidence.missing) == (0, (), "")


def test_a_model_that_cannot_be_fitted_here_leaves_no_lead(
    study: StudyFolder, data: TrialData
) -> None:
    first, second = (
        Proposal(0, Configuration(1e-3, 16, 1.0)),
        Proposal(1, Configuration(2e-3, 16, 1.0)),
    )
    records = [
        complete(first, row("lof", 4, 0.9)),
        complete(second, row("gmm", 64, 0.8)),
        complete(replace(first, number=2, seed=1, rerun_of=0), row("lof", 4, 0.9)),
        complete(replace(second, number=3, seed=1, rerun_of=1), row("gmm", 64, 0.8)),
    ]
    confidence, encoders = measured(ranking(*records), study, data)
    assert (encoders, confidence.lead_low) == (2, None)
    assert measured(ranking(*records), study, data, previous=confidence) == (confidence, 0)


@pytest.mark.parametrize("p", [4, 0.5, None])
def test_confidence_survives_json(folder: UPath, p: float | None) -> None:
    assert read_confidence(folder) == Confidence()
    make_folder(folder)
    whole = Confidence((("a", "lof", p),), (("b", "lof", p),), 1 / 3, 0.5, -0.1, 0.2, "so")
    for confidence in (whole, replace(whole, against=(), lead_low=None, lead_high=None)):
        write_confidence(confidence, folder)
        assert read_confidence(folder) == confidence


def test_a_final_test_has_intervals_by_id_and_over_all() -> None:
    scores = final_scores()
    intervals = final_intervals(scores, "345")
    assert list(intervals) == ["3", "4", "5", "hmean"]
    bounds = {name: each or (1.0, 0.0) for name, each in intervals.items()}
    whole = clip_score(clip_scores_by_id(scores, "345"))
    assert bounds["hmean"][0] < whole < bounds["hmean"][1]
    widths = {name: high - low for name, (low, high) in bounds.items()}
    assert widths["hmean"] < min(widths[identity] for identity in "345")
    assert no_final_interval(scores, "345") == ""
    assert final_intervals(scores[:10], "3") == {"3": None, "hmean": None}
    reason = "too few clips for an interval: 5 normal, 5 anomalous"
    assert no_final_interval(scores[:10], "3") == reason
