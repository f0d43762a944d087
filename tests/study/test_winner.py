"""The winner of a ranking, and its detector."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from upath import UPath

from raysearch.config import Options
from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.data.waveform import Waveform
from raysearch.detector import EncoderDetector
from raysearch.errors import UserError
from raysearch.pipeline.fit_detector import build_detector
from raysearch.scoring.inlier import fit
from raysearch.scoring.spec import InlierSpec
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.ranking import rank
from raysearch.study.records import Proposal, Record
from raysearch.study.space import check_space
from raysearch.study.winner import Winner, choose_winner, freeze_winner, read_frozen
from raysearch.training.configuration import Configuration
from raysearch.training.embedding import ClipEmbeddings
from raysearch.training.network import new_encoder
from raysearch.training.trial import clip_scores
from tests.detectors import embed
from tests.files import put_checkpoint
from tests.records import complete, failed, row
from tests.shared import TRAIN_CLIPS
from tests.tiny import TEN, VALIDATION_IDS, open_valve


def proposal(number: int) -> Proposal:
    return Proposal(number, Configuration(1e-3 * (number + 1), 32, 10.0))


def winner_of(*records: Record) -> Winner:
    ranking = rank(records)
    assert ranking is not None
    return choose_winner("valve", "data", ranking)


def test_the_highest_score_wins_with_its_inlier_model() -> None:
    winner = winner_of(
        complete(proposal(0), row("gmm", 1, 0.71), row("lof", 4, 0.6)),
        complete(proposal(1), row("gmm", 1, 0.5), row("lof", 8, 0.8), row("gmm", 2, 0.79)),
        failed(proposal(2)),
        complete(proposal(3), row("gmm", 1, 0.75), seed=5),
    )
    assert winner == Winner(
        machine="valve",
        trial=1,
        encoder="encoder1",
        configuration=Configuration(2e-3, 32, 10.0),
        inlier=InlierSpec("lof", 8),
        val_score=0.8,
        seed=0,
        data="data",
        seeds=1,
        mean_score=0.8,
        std_score=None,
    )
    assert winner.score == 0.8


def test_of_several_seeds_the_best_encoder_is_the_detectors() -> None:
    reruns = [replace(proposal(0), number=n, seed=n, rerun_of=0) for n in (7, 8)]
    winner = winner_of(
        complete(proposal(0), row("lof", 4, 0.6)),
        complete(reruns[0], row("lof", 4, 0.9)),
        complete(reruns[1], row("lof", 4, 0.75)),
    )
    assert (winner.trial, winner.encoder, winner.seed) == (7, "encoder7", 7)
    assert (winner.val_score, winner.seeds) == (0.9, 3)
    assert winner.score == pytest.approx(0.75)
    assert winner.std_score == pytest.approx(0.15)
    assert winner.config(TEN).seed == 7
    assert winner.config(TEN).configuration == proposal(0).configuration


@pytest.fixture
def winner() -> Winner:
    return winner_of(complete(proposal(1), row("lof", 4, 1 / 3)))


def test_a_frozen_winner_comes_back(tmp_path: Path, winner: Winner) -> None:
    folder = UPath(tmp_path)
    assert read_frozen(folder) is None
    freeze_winner(winner, folder)
    assert read_frozen(folder) == winner


def test_a_winner_frozen_before_the_finalists_comes_back(tmp_path: Path, winner: Winner) -> None:
    folder = UPath(tmp_path)
    content = winner.to_json()
    for key in ("seeds", "mean_score", "std_score"):
        del content[key]
    (folder / "frozen.json").write_text(json.dumps(content))
    frozen = read_frozen(folder)
    assert frozen == winner
    assert (frozen.seeds, frozen.mean_score, frozen.std_score) == (1, winner.val_score, None)


def test_the_configuration_of_a_winner_is_that_of_its_encoder(winner: Winner) -> None:
    config = winner.config(TEN)
    assert (config.machine, config.data, config.seed) == ("valve", "data", 0)
    assert config.configuration == Configuration(2e-3, 32, 10.0)
    assert (
        config.signature() == replace(winner, inlier=InlierSpec("gmm", 1)).config(TEN).signature()
    )


def test_a_winner_is_a_space_of_a_single_configuration(winner: Winner) -> None:
    options = (("mixup", "off"), ("weight_decay", 0.1))
    configuration = replace(winner.configuration, options=options)
    chosen = replace(winner, configuration=configuration, seed=7)
    content = chosen.space_content(TEN)
    assert content["search"] == {
        "lr": 2e-3,
        "batch_size": 32,
        "lambda": 10.0,
        "inlier": {"lof": [4]},
    }
    space = check_space(content, "frozen.yaml")
    assert space.fixed == TEN.replace(dict(options)) == chosen.config(TEN).options
    assert (space.strategy.trials, space.strategy.finalists, space.strategy.seed) == (1, "none", 7)
    without_p = replace(chosen, inlier=InlierSpec("none", None)).space_content(TEN)
    assert without_p["search"]["inlier"] == {"none": []}


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture
def study(tmp_path: Path, data: TrialData) -> UPath:
    """Write a study with one untrained encoder."""
    return write_study(tmp_path, TEN, data)


def write_study(folder: Path, options: Options, data: TrialData) -> UPath:
    torch.manual_seed(0)
    encoder = new_encoder(options, len(data.ids), pretrained=False)
    path = folder / "encoders" / "encoder1" / "best.safetensors"
    put_checkpoint(path, encoder.state_dict(), {"history": [], "resumes": []})
    return UPath(folder)


@pytest.mark.parametrize(("inlier", "p"), [("lof", 4), ("gmm", 1), ("none", None)])
def test_the_detector_has_a_model_and_a_threshold_for_every_id(
    study: UPath, data: TrialData, winner: Winner, inlier: str, p: int | None
) -> None:
    chosen = replace(winner, inlier=InlierSpec(inlier, p))
    detector = build_detector(chosen, TEN, data, study)
    assert detector.ids == ["0", "1", "2", "3", "4", "5"]
    assert detector.spec == chosen.inlier
    assert (detector.mean, detector.std) == (data.target.mean, data.target.std)
    assert detector.recorded_rate == 16000
    assert not detector.encoder.training
    # The threshold is of normal clips outside of the fit.
    train, held_out = data.target_parts(TEN.validation_share, chosen.seed)
    assert held_out.clips.size == 6
    for identity in ("0", "5"):
        clips = [n for n in train.clips if data.target.clips[n].id == identity]
        assert len(clips) == TRAIN_CLIPS - 1
        embeddings = ClipEmbeddings.join(
            [embed(detector, data.target.waveform(n), identity) for n in clips]
        )
        scores = clip_scores(chosen.inlier, detector.models[identity], embeddings, detector.options)
        assert detector.thresholds[identity] == pytest.approx(
            gamma_threshold(scores, TEN.threshold_quantile), rel=1e-4
        )
        assert detector.normal[identity] == pytest.approx((scores.mean(), scores.std()), rel=1e-2)


def alarms(detector: EncoderDetector, data: TrialData) -> dict[str, float]:
    """Return the share of the healthy test clips of each validation ID above its threshold."""
    clips, part = data.validation.clips, Part(data.validation, np.arange(0), 0, 0)
    part = replace(part, mean=detector.mean, std=detector.std)
    rates = {}
    for identity in VALIDATION_IDS:
        healthy = [n for n, c in enumerate(clips) if (c.id, c.label) == (identity, 0)]
        scores = detector.score_clips(detector.embed_clips(part, healthy), identity)
        rates[identity] = float(np.mean(scores > detector.thresholds[identity]))
    return rates


def left_out(detector: EncoderDetector, data: TrialData, clips: list[int]) -> np.ndarray:
    """Score each fifth of the clips of an ID by a model of the other clips."""
    identity = data.target.clips[clips[0]].id
    embedded = [embed(detector, data.target.waveform(n), identity) for n in clips]
    scores = np.empty(len(clips))
    for fold in range(5):
        rest = [rows for n, rows in enumerate(embedded) if n % 5 != fold]
        reg_covar = detector.options.reg_covar
        rows = np.concatenate(rest)
        model = fit(detector.spec, rows, seed=0, reg_covar=reg_covar, direct=None)
        for n in range(fold, len(clips), 5):
            clip = ClipEmbeddings.join([embedded[n]])
            (scores[n],) = clip_scores(detector.spec, model, clip, detector.options)
    return scores


def test_a_method_without_a_training_has_a_threshold_of_all_clips(
    tmp_path: Path, data: TrialData, winner: Winner
) -> None:
    """Its models have nine clips in ten, and the tenth alone would be too few."""
    options = TEN.replace({"method": "baseline"})
    chosen = replace(winner, configuration=Configuration(None, None, None))
    detector = build_detector(chosen, options, data, write_study(tmp_path, options, data))
    train, held_out = data.target_parts(options.validation_share, chosen.seed)
    for identity in ("0", "5"):
        fitted, outside = (
            [n for n in part.clips.tolist() if data.target.clips[n].id == identity]
            for part in (train, held_out)
        )
        (other,) = [
            detector.score_ids(Waveform.of(data.target.waveform(n)), [identity]) for n in outside
        ]
        scores = [other[identity], *left_out(detector, data, fitted)]
        assert detector.thresholds[identity] == pytest.approx(
            gamma_threshold(np.array(scores), options.threshold_quantile), rel=1e-2
        )


@pytest.mark.parametrize(("inlier", "p"), [("knn", 1), ("lof", 1), ("gmm", 8), ("kde", 1.0)])
def test_a_threshold_leaves_out_the_clips_that_the_model_was_fitted_on(
    study: UPath, data: TrialData, winner: Winner, inlier: str, p: float
) -> None:
    chosen = replace(winner, inlier=InlierSpec(inlier, p))
    options = TEN.replace({"inlier_fit": "all"})
    detector = build_detector(chosen, options, data, study)
    # Random projections of few clips: most healthy clips are below, not exactly nine in ten.
    rates = alarms(detector, data)
    assert np.mean(list(rates.values())) < 0.5, rates
    for identity in ("0", "5"):
        clips = [n for n, clip in enumerate(data.target.clips) if clip.id == identity]
        scores = left_out(detector, data, clips)
        assert detector.thresholds[identity] == pytest.approx(
            gamma_threshold(scores, options.threshold_quantile), rel=1e-2
        )


def test_a_model_of_an_id_is_fitted_on_that_ids_held_clips(
    study: UPath, data: TrialData, winner: Winner
) -> None:
    detector = build_detector(winner, TEN, data, study)
    _, held_out = data.target_parts(TEN.validation_share, winner.seed)
    for identity in ("1", "4"):
        (clip,) = [n for n in held_out.clips if data.target.clips[n].id == identity]
        np.testing.assert_allclose(
            detector.models[identity].arrays()["embeddings"],
            embed(detector, data.target.waveform(clip), identity),
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_model_that_cannot_be_fitted_is_named(
    study: UPath, data: TrialData, winner: Winner
) -> None:
    with pytest.raises(UserError, match=r"no detector of valve: ID 0: gmm with p=64 .*has 10"):
        build_detector(replace(winner, inlier=InlierSpec("gmm", 64)), TEN, data, study)


def test_a_lost_encoder_is_named(tmp_path: Path, data: TrialData, winner: Winner) -> None:
    with pytest.raises(UserError, match=r"checkpoint of trial 1 is deleted, or .* trains it again"):
        build_detector(winner, TEN, data, UPath(tmp_path))
