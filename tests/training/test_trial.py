"""The whole walk of a trial, without a scheduler."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hmean, multivariate_normal
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from torch import nn

from raysearch.data.dataset import TrialData, open_data
from raysearch.data.source import make_source
from raysearch.methods.proposed import OutlierExposureEncoder
from raysearch.scoring.inlier import INLIERS, InlierSpec
from raysearch.training.configuration import TrialConfig
from raysearch.training.embedding import Embedder
from raysearch.training.network import frontend
from raysearch.training.outcome import Epoch, InlierResult, TrialResult
from raysearch.training.train import Trained, load_trained
from raysearch.training.trial import fit_embeddings, run_trial, score_inlier_models
from tests.shared import TRAIN_CLIPS
from tests.tiny import TINY, VALIDATION_IDS, open_valve, tiny_config

GMM, LOF, NONE = InlierSpec("gmm", 1), InlierSpec("lof", 3), InlierSpec("none", None)
# One clip of ten segments an ID is held out, too few for these two.
TOO_MANY, TOO_FAR = InlierSpec("gmm", 64), InlierSpec("lof", 16)
SPECS = (GMM, TOO_MANY, LOF, TOO_FAR, NONE)
# What ten segments are enough for, and what they are not.
WIDE = (
    *(InlierSpec(name, 2) for name in ("gmm", "gmm_diag", "gmm_tied", "lof")),
    *(InlierSpec(name, 2) for name in ("knn", "knn_cosine", "knn_local")),
    *(InlierSpec(name, 0.5) for name in ("mahalanobis", "pca", "ocsvm", "kde")),
    NONE,
)
TOO_WIDE = (
    *(InlierSpec(name, 11) for name in ("gmm", "gmm_diag", "gmm_tied", "knn", "knn_cosine")),
    *(InlierSpec(name, 10) for name in ("lof", "knn_local")),
    InlierSpec("mahalanobis", 0),
)


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture(scope="module")
def config(data: TrialData) -> TrialConfig:
    return tiny_config(data, epochs=2, segment_seconds=2.0, segments=10)


def test_without_validation_ids_models_are_fitted_but_not_scored(
    demo_data: Path, tmp_path: Path
) -> None:
    data = open_data(make_source(demo_data, "valve", (), TINY))
    config = tiny_config(data, epochs=1, segment_seconds=2.0, segments=10)
    result = run_trial(config, data, (GMM, TOO_MANY), lambda epoch: None, tmp_path, (1,))
    gmm, too_many = result.rows
    assert (gmm.val_score, gmm.auc, gmm.error) == (None, {}, "")
    assert "degenerate" in gmm.remark
    assert too_many.error
    assert result.best == gmm
    assert result.history[0].val_score is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoder")


@pytest.fixture(scope="module")
def reported() -> list[Epoch]:
    return []


@pytest.fixture(scope="module")
def result(
    config: TrialConfig, data: TrialData, reported: list[Epoch], folder: Path
) -> TrialResult:
    return run_trial(config, data, SPECS, reported.append, folder)


@pytest.fixture(scope="module")
def trained(result: TrialResult, config: TrialConfig, folder: Path) -> Trained:
    return load_trained(config.options, 6, folder)


def forbidden(epoch: Epoch) -> None:
    raise AssertionError(f"epoch {epoch.epoch} was trained")


def test_there_is_a_row_for_each_inlier_model_and_p(result: TrialResult) -> None:
    assert [(row.inlier, row.p) for row in result.rows] == [(s.name, s.p) for s in SPECS]


def test_each_scored_row_has_the_harmonic_mean_over_validation_ids(result: TrialResult) -> None:
    scored = [row for row in result.rows if not row.error]
    assert [row.inlier for row in scored] == ["gmm", "lof", "none"]
    for row in scored:
        assert tuple(row.auc) == tuple(row.pauc) == VALIDATION_IDS
        values = [*row.auc.values(), *row.pauc.values()]
        assert all(0 < value <= 1 for value in values)
        assert row.val_score == pytest.approx(hmean(values), rel=1e-12)


def test_what_cannot_be_fitted_is_a_row_with_its_reason(result: TrialResult) -> None:
    failed = {(row.inlier, row.p): row for row in result.rows if row.error}
    assert set(failed) == {("gmm", 64), ("lof", 16)}
    for row in failed.values():
        assert row.val_score is None
        assert row.auc == row.pauc == {}
    assert failed["gmm", 64].error == "ID 0: gmm with p=64 needs at least 64 segments, has 10"
    assert failed["lof", 16].error == "ID 0: lof with p=16 needs at least 17 segments, has 10"


def test_a_degenerate_fit_is_remarked(result: TrialResult) -> None:
    expected = "degenerate: 1 full component on 10 segments of 1 clip in 128 dimensions"
    assert result.rows[0].remark == expected
    assert result.rows[2].remark == ""


def test_a_training_that_lowers_no_loss_is_remarked_in_every_row(
    data: TrialData, tmp_path: Path
) -> None:
    useless = tiny_config(data, epochs=1, lr=1.0, method="serial_aam")
    result = run_trial(useless, data, SPECS, lambda _: None, tmp_path)
    remark = load_trained(useless.options, 6, tmp_path).remark
    assert remark.startswith("the training did not lower the loss")
    assert all(row.remark.endswith(remark) for row in result.rows)


def test_the_best_row_is_that_of_the_highest_score(result: TrialResult) -> None:
    scores = [row.val_score for row in result.rows if row.val_score is not None]
    assert result.best is not None
    assert result.best.val_score == max(scores)


def test_short_clips_count_as_one_segment_each(
    trained: Trained, config: TrialConfig, data: TrialData
) -> None:
    """Clips of 3 s are shorter than a segment of 4 s."""
    options = config.options.model_copy(update={"segment_seconds": 4.0, "inlier_fit": "all"})
    longer = config.model_copy(update={"options": options})
    few, many, mixture = score_inlier_models(
        trained.encoder,
        longer,
        data,
        (InlierSpec("lof", TRAIN_CLIPS - 1), InlierSpec("lof", TRAIN_CLIPS), GMM),
    )
    assert few.error == ""
    assert many.error == "ID 0: lof with p=8 needs at least 9 segments, has 8"
    assert "on 8 segments of 8 clips" in mixture.remark


def test_training_is_told_and_summed_up(result: TrialResult, reported: list[Epoch]) -> None:
    assert [epoch.epoch for epoch in reported] == [1, 2]
    assert result.history == tuple(reported)
    best = min(reported, key=lambda epoch: epoch.val_loss)
    assert (result.best_epoch, result.val_loss) == (best.epoch, best.val_loss)
    assert result.train_seconds == pytest.approx(sum(epoch.seconds for epoch in reported))
    assert result.score_seconds > 0
    assert result.resumes == ()


class ByHand:
    """Embeddings of one clip at a time, from the checkpoint and the stores alone."""

    def __init__(self, trained: Trained, config: TrialConfig, data: TrialData) -> None:
        self.encoder, self.data = trained.encoder, data
        self.device = next(self.encoder.parameters()).device
        self.front = frontend(config.options).to(self.device)
        _, self.held_out = data.target_parts(0.1, config.seed)

    def embed(self, wave: np.ndarray) -> np.ndarray:
        scaled = (wave.astype(np.float32) - self.data.target.mean) / self.data.target.std
        starts = [*range(0, 9 * 1777, 1777), 16000]
        cut = np.stack([scaled[s : s + 32000] for s in starts]).astype(np.float32)
        with torch.inference_mode():
            embeddings = self.encoder.embed(self.front(torch.from_numpy(cut).to(self.device)))
        return embeddings.double().cpu().numpy()

    def fit_rows(self, identity: str) -> np.ndarray:
        clips = [i for i in self.held_out.clips if self.data.target.clips[i].id == identity]
        return np.concatenate([self.embed(self.data.target.waveform(i)) for i in clips])

    def tests(self, identity: str) -> tuple[np.ndarray, np.ndarray]:
        store = self.data.validation
        chosen = [i for i, clip in enumerate(store.clips) if clip.id == identity]
        embeddings = np.stack([self.embed(store.waveform(i)) for i in chosen])
        return np.array([store.clips[i].label for i in chosen]), embeddings


@pytest.fixture(scope="module")
def by_hand(trained: Trained, config: TrialConfig, data: TrialData) -> ByHand:
    return ByHand(trained, config, data)


def gmm(hand: ByHand, identity: str, clips: np.ndarray) -> np.ndarray:
    rows = hand.fit_rows(identity)
    covariance = np.cov(rows.T, bias=True) + 1e-6 * np.eye(rows.shape[1])
    scores = -multivariate_normal(rows.mean(axis=0), covariance).logpdf(clips)
    return np.array([np.sort(row)[5:].mean() for row in scores])  # above the median of ten


def lof(hand: ByHand, identity: str, clips: np.ndarray) -> np.ndarray:
    factor = LocalOutlierFactor(n_neighbors=3, novelty=True).fit(hand.fit_rows(identity))
    return np.array([-factor.score_samples(segments).mean() for segments in clips])


def none(hand: ByHand, identity: str, clips: np.ndarray) -> np.ndarray:
    assert isinstance(hand.encoder, OutlierExposureEncoder)
    head = hand.encoder.product_head.weight.detach().double().cpu().numpy()
    probability = 1 / (1 + np.exp(-clips @ head[int(identity)]))
    return np.asarray(1 - probability.mean(axis=1))


@pytest.mark.parametrize(("row", "score"), [(0, gmm), (2, lof), (4, none)])
def test_scores_recomputed_by_hand(
    result: TrialResult,
    by_hand: ByHand,
    row: int,
    score: Callable[[ByHand, str, np.ndarray], np.ndarray],
) -> None:
    for identity in VALIDATION_IDS:
        labels, embeddings = by_hand.tests(identity)
        assert (labels == 0).sum() == (labels == 1).sum() == 6
        scores = score(by_hand, identity, embeddings)
        inlier_result = result.rows[row]
        assert inlier_result.auc[identity] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        assert inlier_result.pauc[identity] == pytest.approx(
            roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-9
        )


def test_inlier_models_are_fitted_on_the_held_out_clips_or_on_all(
    trained: Trained, config: TrialConfig, data: TrialData, by_hand: ByHand
) -> None:
    held_out = fit_embeddings(Embedder(trained.encoder, config.options), config, data)
    assert {identity: clips.rows.shape for identity, clips in held_out.items()} == dict.fromkeys(
        data.ids, (10, 128)
    )
    for identity in ("0", "4"):
        np.testing.assert_allclose(held_out[identity].rows, by_hand.fit_rows(identity), atol=1e-3)
    options = config.options.model_copy(update={"inlier_fit": "all"})
    everything = fit_embeddings(
        Embedder(trained.encoder, options), config.model_copy(update={"options": options}), data
    )
    assert {clips.rows.shape for clips in everything.values()} == {(10 * TRAIN_CLIPS, 128)}


def test_another_way_to_score_needs_no_training(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path
) -> None:
    options = config.options.model_copy(update={"inlier_fit": "all"})
    other = config.model_copy(update={"options": options})
    assert other.signature() == config.signature()
    again = run_trial(other, data, (TOO_MANY,), forbidden, folder)
    assert again.history == result.history
    assert again.rows[0].error == ""  # all training clips have enough segments


def test_the_same_embeddings_give_the_same_rows(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path
) -> None:
    assert run_trial(config, data, SPECS, forbidden, folder).rows == result.rows


def test_a_trial_of_which_nothing_can_be_fitted_still_ends(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path
) -> None:
    ended = run_trial(config, data, (TOO_MANY, TOO_FAR), forbidden, folder)
    assert ended.best is None
    assert [bool(row.error) for row in ended.rows] == [True, True]


def test_every_inlier_model_has_its_row(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path
) -> None:
    ended = run_trial(config, data, WIDE, forbidden, folder)
    assert tuple(row.inlier for row in ended.rows) == INLIERS
    assert [(row.inlier, row.p) for row in ended.rows] == [(spec.name, spec.p) for spec in WIDE]
    assert [row.error for row in ended.rows] == [""] * len(WIDE)
    assert len({row.val_score for row in ended.rows}) > 5


def test_models_that_are_fitted_in_several_threads_have_their_rows_in_order(
    trained: Trained, config: TrialConfig, data: TrialData
) -> None:
    specs = (*WIDE, TOO_MANY, *(InlierSpec("lof", p) for p in (1, 2, 3, 16)))
    before, rows = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            rows.append(score_inlier_models(trained.encoder, config, data, specs))
        finally:
            torch.set_num_threads(before)
    for spec, alone, among in zip(specs, *rows, strict=True):
        assert (among.inlier, among.p, among.error) == (spec.name, spec.p, alone.error)
        # The embeddings themselves depend on the threads, in their last digits.
        assert among.auc == pytest.approx(alone.auc, abs=0.03)
    assert [bool(row.error) for row in rows[1]] == [False] * 12 + [True] + [False] * 3 + [True]


def test_whatever_cannot_be_fitted_is_a_row_with_its_reason(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path
) -> None:
    ended = run_trial(config, data, (*TOO_WIDE, NONE), forbidden, folder)
    *failed, kept = ended.rows
    assert ended.best == kept
    for spec, row in zip(TOO_WIDE, failed, strict=True):
        assert (row.inlier, row.p, row.val_score) == (spec.name, spec.p, None)
        assert row.error.startswith(f"ID 0: {spec} needs at least 11 segments, has 10") or (
            spec.name == "mahalanobis" and "is singular" in row.error
        )


@pytest.mark.parametrize(
    ("value", "reason"), [(1.0, "all 10 embeddings are equal"), (np.nan, "not finite")]
)
def test_a_collapsed_encoder_is_a_row_with_its_reason(
    trained: Trained, config: TrialConfig, data: TrialData, value: float, reason: str
) -> None:
    collapsed = copy.deepcopy(trained.encoder)
    assert isinstance(collapsed, OutlierExposureEncoder)
    last = collapsed.neck[-1]
    assert isinstance(last, nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, value)
    *fitted, none = score_inlier_models(collapsed, config, data, WIDE)
    for spec, row in zip(WIDE, fitted, strict=False):
        assert row.error.startswith(f"ID 0: {spec}: ")
        assert reason in row.error
        assert row.val_score is None
    # Without an inlier model equal embeddings do have a score: that of chance.
    assert none.val_score == (None if np.isnan(value) else pytest.approx(0.5))


def test_a_model_that_cannot_be_fitted_for_a_test_id_has_no_score(
    trained: Trained, config: TrialConfig, demo_data: Path, tmp_path: Path
) -> None:
    """No detector could be made of such a model; the reason is seen in training clips alone."""
    root = shutil.copytree(demo_data, tmp_path / "data", copy_function=os.link)
    clips = sorted((root / "eval_data/valve/train").glob("section_03_source*.wav"))
    for clip in clips[2:]:
        clip.unlink()
    options = config.options.model_copy(update={"validation_share": 0.5})
    halved = config.model_copy(update={"options": options})
    specs = InlierSpec("knn", 16), InlierSpec("knn", 10)
    failed, fitted = score_inlier_models(trained.encoder, halved, open_valve(root), specs)
    assert failed.val_score is None
    assert failed.error == "ID 3: knn with p=16 needs at least 16 segments, has 10"
    assert fitted.val_score is not None
    assert tuple(fitted.auc) == VALIDATION_IDS


@pytest.mark.parametrize("inlier", ["gmm", "lof"])
def test_the_aggregator_is_an_option(
    result: TrialResult, config: TrialConfig, data: TrialData, folder: Path, inlier: str
) -> None:
    spec = InlierSpec(inlier, 1)
    rows: list[InlierResult] = []
    for aggregator in ({}, {inlier: "above_median"}, {inlier: "mean"}, {inlier: "max"}):
        options = config.options.model_copy(update={"aggregator": aggregator})
        other = config.model_copy(update={"options": options})
        assert other.signature() == config.signature()
        rows += run_trial(other, data, (spec,), forbidden, folder).rows
    papers, above, mean, highest = rows
    assert papers == (above if inlier == "gmm" else mean)
    assert len({row.val_score for row in (above, mean, highest)}) > 1


def test_the_first_of_equal_rows_is_best(result: TrialResult) -> None:
    row = result.rows[0]
    twice = TrialResult((row, row), result.history, (), 1, 0.0, 0.0, 0.0)
    assert twice.best is twice.rows[0]
