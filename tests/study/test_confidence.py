"""How sure a winner is, from the encoders of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from upath import UPath

from raysearch.config import Configuration
from raysearch.data.dataset import TrialData
from raysearch.scoring.metrics import machine_score
from raysearch.study.confidence import Confidence, read_confidence, write_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import Ranking, rank
from raysearch.study.records import Proposal, Record
from raysearch.study.resampling import measure_confidence
from raysearch.training import checkpoint
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
    """Four encoders that were never trained; 0 and 3 are the same."""
    found = StudyFolder(folder)
    for number, seed in enumerate([0, 1, 2, 0]):
        torch.manual_seed(seed)
        tensors = new_encoder(TEN, len(data.ids), pretrained=False).state_dict()
        place = found.encoder(f"encoder{number}") / "best.safetensors"
        checkpoint.save(place, tensors, {"history": [], "resumes": []})
    return found


def trial(number: int, score: float, of: int | None = None) -> Record:
    lr = 1e-3 * (1 + (number if of is None else of))
    return complete(Proposal(number, Configuration(lr, 16, 1.0), rerun_of=of), row("lof", 4, score))


def ranking(*records: Record) -> Ranking:
    found = rank(records)
    assert found is not None
    return found


def measured(
    asked: Ranking, study: StudyFolder, data: TrialData, known: Confidence | None = None
) -> tuple[Confidence, int]:
    """What was found, and how many encoders were asked for it."""
    told: list[int] = []
    found = measure_confidence(asked, known or Confidence(), TEN, data, study, told.append)
    return found, sum(told)


def judged(study: StudyFolder, data: TrialData, number: int) -> float:
    one = trial(number, 0.5)
    config = one.proposal.config("valve", data.fingerprint, 0, TEN)
    encoder = load_trained(TEN, len(data.ids), study.encoder(one.encoder)).encoder
    spec = ranking(one).winner.inlier
    found = score_validation_clips(spec, encoder, config, data)
    labels, scores = ({k: pair[n] for k, pair in found.items()} for n in (0, 1))
    assert all(label.shape == (12,) and label.sum() == 6 for label in labels.values())
    return machine_score(labels, scores).hmean


def test_the_interval_holds_the_mean_over_the_seeds(study: StudyFolder, data: TrialData) -> None:
    asked = ranking(trial(0, 0.9), trial(1, 0.8, of=0))
    found, encoders = measured(asked, study, data)
    mean = np.mean([judged(study, data, number) for number in (0, 1)])
    assert found.low is not None
    assert found.high is not None
    assert found.low < mean < found.high
    assert (encoders, found.lead_low, found.is_noise) == (2, None, False)
    assert found.of == (("encoder0", "lof", 4), ("encoder1", "lof", 4))


def test_two_that_are_the_same_are_within_noise(study: StudyFolder, data: TrialData) -> None:
    found, _ = measured(ranking(trial(0, 0.9), trial(3, 0.8)), study, data)
    assert (found.lead_low, found.lead_high) == (0.0, 0.0)
    assert found.is_noise
    assert found.against == (("encoder3", "lof", 4),)


def test_one_that_is_always_ahead_is_not() -> None:
    assert not Confidence(low=0.8, high=0.9, lead_low=0.01, lead_high=0.2).is_noise
    assert Confidence(low=0.8, high=0.9, lead_low=-0.01, lead_high=0.2).is_noise


def test_the_same_is_found_again_and_not_sought_again(folder: UPath, data: TrialData) -> None:
    study = make_study(folder, data)
    asked = ranking(trial(0, 0.9), trial(1, 0.8), trial(2, 0.7))
    found, encoders = measured(asked, study, data)
    assert encoders == 2
    assert measured(asked, study, data) == (found, 2)
    # As after a run, which leaves the winner's encoder only.
    study.drop_checkpoints("encoder1")
    assert measured(asked, study, data, known=found) == (found, 0)
    other, encoders = measured(ranking(trial(0, 0.9), trial(2, 0.85)), study, data, known=found)
    assert (encoders, other.against, other.low) == (2, (("encoder2", "lof", 4),), found.low)


def test_without_their_encoders_there_is_nothing_to_measure(
    study: StudyFolder, data: TrialData
) -> None:
    asked = ranking(trial(0, 0.9), trial(1, 0.8))
    whole, _ = measured(asked, study, data)
    study.drop_checkpoints("encoder1")
    alone, encoders = measured(asked, study, data)
    assert (encoders, alone.low, alone.lead_low) == (1, whole.low, None)
    assert measured(asked, study, data, known=alone) == (alone, 0)
    study.drop_checkpoints("encoder0")
    assert measured(asked, study, data) == (Confidence(), 0)


def test_a_model_that_cannot_be_fitted_here_leaves_no_interval(
    study: StudyFolder, data: TrialData
) -> None:
    records = [
        complete(Proposal(0, Configuration(1e-3, 16, 1.0)), row("lof", 4, 0.9)),
        complete(Proposal(1, Configuration(2e-3, 16, 1.0)), row("gmm", 64, 0.8)),
    ]
    found, _ = measured(ranking(*records), study, data)
    assert found.low is not None
    assert found.lead_low is None
    assert measured(ranking(*records), study, data, known=found) == (found, 0)


@pytest.mark.parametrize("p", [4, 0.5, None])
def test_it_is_kept(folder: UPath, p: float | None) -> None:
    assert read_confidence(folder) == Confidence()
    found = Confidence((("a", "lof", p),), (("b", "lof", p),), 1 / 3, 0.5, -0.1, 0.2, "so")
    for one in (found, replace(found, against=(), lead_low=None, lead_high=None)):
        write_confidence(one, folder)
        assert read_confidence(folder) == one
