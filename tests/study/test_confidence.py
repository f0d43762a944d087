"""Confidence in a winner, from the encoders of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from upath import UPath

from raysearch.data.dataset import TrialData
from raysearch.scoring.metrics import machine_score
from raysearch.study.confidence import Confidence, read_confidence, write_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import Ranking, rank
from raysearch.study.records import Proposal, Record
from raysearch.study.resampling import measure_confidence
from raysearch.training import checkpoint
from raysearch.training.configuration import Configuration
from raysearch.training.network import new_encoder
from raysearch.training.train import load_trained
from raysearch.training.trial import score_validation_clips
from tests.records import complete, row
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
        checkpoint.save(path, tensors, {"history": [], "resumes": []})
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


def validation_score(study: StudyFolder, data: TrialData, number: int) -> float:
    record = trial(number, 0.5)
    config = record.proposal.config("valve", data.fingerprint, 0, TEN)
    encoder = load_trained(TEN, len(data.ids), study.encoder(record.encoder)).encoder
    spec = ranking(record).winner.inlier
    pairs = score_validation_clips(spec, encoder, config, data)
    labels, scores = ({k: pair[n] for k, pair in pairs.items()} for n in (0, 1))
    assert all(label.shape == (12,) and label.sum() == 6 for label in labels.values())
    return machine_score(labels, scores).hmean


def test_the_interval_holds_the_mean_over_the_seeds(study: StudyFolder, data: TrialData) -> None:
    ranked = ranking(trial(0, 0.9), trial(1, 0.8, of=0))
    confidence, encoders = measured(ranked, study, data)
    mean = np.mean([validation_score(study, data, number) for number in (0, 1)])
    assert confidence.low is not None
    assert confidence.high is not None
    assert confidence.low < mean < confidence.high
    assert (encoders, confidence.lead_low, confidence.is_noise) == (2, None, False)
    assert confidence.of == (("encoder0", "lof", 4), ("encoder1", "lof", 4))


def test_identical_encoders_are_within_noise(study: StudyFolder, data: TrialData) -> None:
    confidence, _ = measured(ranking(trial(0, 0.9), trial(3, 0.8)), study, data)
    assert (confidence.lead_low, confidence.lead_high) == (0.0, 0.0)
    assert confidence.is_noise
    assert confidence.against == (("encoder3", "lof", 4),)


def test_a_lead_above_zero_is_beyond_noise() -> None:
    assert not Confidence(low=0.8, high=0.9, lead_low=0.01, lead_high=0.2).is_noise
    assert Confidence(low=0.8, high=0.9, lead_low=-0.01, lead_high=0.2).is_noise


def test_an_earlier_result_is_reused(folder: UPath, data: TrialData) -> None:
    study = make_study(folder, data)
    ranked = ranking(trial(0, 0.9), trial(1, 0.8), trial(2, 0.7))
    confidence, encoders = measured(ranked, study, data)
    assert encoders == 2
    assert measured(ranked, study, data) == (confidence, 2)
    # After a run only the winner's encoder is left.
    study.drop_checkpoints("encoder1")
    assert measured(ranked, study, data, previous=confidence) == (confidence, 0)
    other, encoders = measured(
        ranking(trial(0, 0.9), trial(2, 0.85)), study, data, previous=confidence
    )
    assert (encoders, other.against, other.low) == (2, (("encoder2", "lof", 4),), confidence.low)


def test_without_their_encoders_there_is_nothing_to_measure(
    study: StudyFolder, data: TrialData
) -> None:
    ranked = ranking(trial(0, 0.9), trial(1, 0.8))
    complete_result, _ = measured(ranked, study, data)
    study.drop_checkpoints("encoder1")
    alone, encoders = measured(ranked, study, data)
    assert (encoders, alone.low, alone.lead_low) == (1, complete_result.low, None)
    assert measured(ranked, study, data, previous=alone) == (alone, 0)
    study.drop_checkpoints("encoder0")
    assert measured(ranked, study, data) == (Confidence(), 0)


def test_a_model_that_cannot_be_fitted_here_leaves_no_interval(
    study: StudyFolder, data: TrialData
) -> None:
    records = [
        complete(Proposal(0, Configuration(1e-3, 16, 1.0)), row("lof", 4, 0.9)),
        complete(Proposal(1, Configuration(2e-3, 16, 1.0)), row("gmm", 64, 0.8)),
    ]
    confidence, _ = measured(ranking(*records), study, data)
    assert confidence.low is not None
    assert confidence.lead_low is None
    assert measured(ranking(*records), study, data, previous=confidence) == (confidence, 0)


@pytest.mark.parametrize("p", [4, 0.5, None])
def test_confidence_survives_json(folder: UPath, p: float | None) -> None:
    assert read_confidence(folder) == Confidence()
    whole = Confidence((("a", "lof", p),), (("b", "lof", p),), 1 / 3, 0.5, -0.1, 0.2, "so")
    for confidence in (whole, replace(whole, against=(), lead_low=None, lead_high=None)):
        write_confidence(confidence, folder)
        assert read_confidence(folder) == confidence
