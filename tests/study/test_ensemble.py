"""An ensemble of detectors: its score is the average of their standardised scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.data.waveform import Waveform
from raysearch.detector import EncoderDetector
from raysearch.errors import UserError
from raysearch.study.bundle import load_detector, save_detector
from raysearch.study.ensemble import Ensemble, Member
from tests.detectors import count_embedded, make_detector
from tests.tiny import open_valve

RATE = 16000
IDS = ("0", "1", "2", "3", "4", "5")
WEIGHTS = (0.5, 0.3, 0.2)


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture(scope="module")
def ensemble(data: TrialData) -> Ensemble:
    mean, std = data.target.mean, data.target.std
    detectors = [
        replace(detector, mean=mean, std=std)
        for detector in (
            make_detector(ids=IDS),
            make_detector("knn", 2, ids=IDS),
            make_detector("none", None, ids=IDS, method="autoencoder"),
        )
    ]
    members = tuple(
        Member(f"member{k}", detector, weight, {i: (float(k), 2.0 + int(i)) for i in IDS})
        for k, (detector, weight) in enumerate(zip(detectors, WEIGHTS, strict=True))
    )
    thresholds = {identity: 0.1 * int(identity) for identity in IDS}
    normal = dict.fromkeys(IDS, (0.5, 2.0))
    return Ensemble("valve", detectors[0].options, mean, std, thresholds, members, normal=normal)


def wave() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 3 * RATE)


def test_an_ensemble_has_the_weights_of_all_its_networks(ensemble: Ensemble) -> None:
    counts = [each.detector.parameters for each in ensemble.members]
    assert ensemble.parameters == sum(counts) > max(counts) > 0


@pytest.mark.parametrize("identity", IDS)
def test_the_score_is_the_weighted_average(ensemble: Ensemble, identity: str) -> None:
    (result,) = ensemble.score(wave(), id=identity, rate=RATE)
    expected = 0.0
    for k, member in enumerate(ensemble.members):
        (alone,) = member.detector.score(wave(), id=identity, rate=RATE)
        expected += WEIGHTS[k] * (alone.score - k) / (2 + int(identity))
    assert result.score == pytest.approx(expected, rel=1e-9)
    assert result.anomalous == (result.score > 0.1 * int(identity))


def test_any_embeds_a_recording_once_by_each_member(ensemble: Ensemble) -> None:
    """The least score is that of its ID alone, to the last digit."""
    detectors = [member.detector for member in ensemble.members]
    networks = [each.encoder for each in detectors if isinstance(each, EncoderDetector)]
    with count_embedded(networks) as counts:
        [least] = ensemble.score(wave(), id="any", rate=RATE)
    assert counts == [1, 1, 1]
    alone = [score for i in IDS for score in ensemble.score(wave(), id=i, rate=RATE)]
    assert least == min(
        (score.standardise(ensemble.normal) for score in alone), key=lambda score: score.score
    )


def test_clips_of_a_store_have_the_scores_of_single_clips(
    ensemble: Ensemble, data: TrialData
) -> None:
    part = Part(data.validation, np.arange(6), ensemble.mean, ensemble.std)
    chosen = [0, 3, len(data.validation.clips) - 1]
    together = ensemble.embed_clips(part, chosen)
    assert together.rows.shape == (3, 3)
    for row, index in zip(together.split(), chosen, strict=True):
        identity = data.validation.clips[index].id
        clip = Waveform.of(data.validation.waveform(index))
        alone = [[member.score_ids(clip, [identity])[identity] for member in ensemble.members]]
        np.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-5)


def test_clips_of_another_machine_type_have_scores_too(ensemble: Ensemble, data: TrialData) -> None:
    store = data.others[0]
    few = replace(ensemble, thresholds={"0": 0.0})
    values = few.embed_clips(Part(store, np.arange(2), store.mean, store.std), [0, 1])
    assert np.isfinite(values.rows).all()


def test_an_ensemble_has_no_scores_of_segments(ensemble: Ensemble) -> None:
    with pytest.raises(UserError, match="such as members/0"):
        ensemble.windows(wave(), id="0", rate=RATE)


def test_a_saved_ensemble_scores_as_before(ensemble: Ensemble, tmp_path: Path) -> None:
    save_detector(ensemble, UPath(tmp_path / "detector"))
    loaded = load_detector(UPath(tmp_path / "detector"))
    assert isinstance(loaded, Ensemble)
    assert [member.name for member in loaded.members] == ["member0", "member1", "member2"]
    for identity in (*IDS, "any"):
        assert loaded.score(wave(), id=identity, rate=RATE) == ensemble.score(
            wave(), id=identity, rate=RATE
        )
