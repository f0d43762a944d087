"""A complete trial: train the encoder, fit the inlier models, score the validation IDs.

Independent of the scheduler: `report` is any callable, in a notebook as in a cluster.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.config import Options
from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.methods.lookup import find_method
from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import (
    FitError,
    InlierModel,
    InlierSpec,
    aggregate,
    fit,
    remark,
    restore,
)
from raysearch.scoring.metrics import machine_score
from raysearch.scoring.sweep import Outcome, score_sweep
from raysearch.storage import AnyPath
from raysearch.training.configuration import TrialConfig
from raysearch.training.distributed import all_gather, broadcast, shard
from raysearch.training.embedding import ClipEmbeddings, Embedder
from raysearch.training.outcome import InlierResult, TrialResult, best_row
from raysearch.training.train import Report, Trained, train


def run_trial(
    config: TrialConfig,
    data: TrialData,
    inliers: Sequence[InlierSpec],
    report: Report,
    folder: AnyPath,
    rungs: Collection[int] = (),
) -> TrialResult:
    """Train one encoder and score every inlier model on its embeddings.

    Collective: the workers share the work, and all return the same result.

    Args:
        config: of the encoder.
        data: recordings, none of a test ID's test clips among them.
        inliers: inlier models to score.
        report: callback after every epoch.
        folder: of the encoder's checkpoints, from which an interrupted trial resumes.
        rungs: epochs after which the validation score is reported, too.

    Raises:
        TrialError: training diverged, or has too many workers or too little memory.
    """

    def judge(encoder: Encoder, _: int) -> float | None:
        best = best_row(score_inlier_models(encoder, config, data, inliers))
        return best.val_score if best else None

    trained = train(config, data, report, folder, judge, rungs)
    start = time.perf_counter()
    rows = score_inlier_models(trained.encoder, config, data, inliers)
    return _result(trained, rows, broadcast(lambda: time.perf_counter() - start))


def score_inlier_models(
    encoder: Encoder, config: TrialConfig, data: TrialData, inliers: Sequence[InlierSpec]
) -> tuple[InlierResult, ...]:
    """Fit inlier models on an encoder's embeddings and score the validation IDs with each.

    Collective: the workers share the models, and all return the whole result.
    """
    embedder = Embedder(encoder, config.options, data.ids)
    fits = fit_embeddings(embedder, config, data)
    tests = _validation_embeddings(embedder, data)

    def fit_one(spec: InlierSpec, identity: str) -> InlierModel:
        return fit_inlier(spec, identity, encoder, config, data, fits)

    segments = {identity: clips.rows for identity, (clips, _) in tests.items()}
    specs = inliers[shard()]
    # torch has a thread for each CPU of the trial.
    outcomes = score_sweep(specs, data.ids, segments, fit_one, torch.get_num_threads())
    clips = [fits[identity] for identity in data.ids]
    rows = [
        _row(spec, config.options, clips, tests, {i: outcomes[spec, i] for i in data.ids})
        for spec in specs
    ]
    return tuple(all_gather(rows, len(inliers)))


def score_validation_clips(
    spec: InlierSpec, encoder: Encoder, config: TrialConfig, data: TrialData
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Fit an inlier model on an encoder's embeddings and score the validation clips. Collective.

    Returns:
        Validation ID -> labels (C,), 1 for an anomaly, and scores (C,), higher = more anomalous.

    Raises:
        FitError: the model cannot be fitted to the embeddings of an ID.
    """
    embedder = Embedder(encoder, config.options, data.ids)
    fits = fit_embeddings(embedder, config, data)
    scored = {}
    tests = _validation_embeddings(embedder, data)
    for identity, (embeddings, labels) in tests.items():
        model = fit_inlier(spec, identity, encoder, config, data, fits)
        scored[identity] = labels, clip_scores(spec, model, embeddings, config.options)
    return scored


def _result(trained: Trained, rows: Sequence[InlierResult], seconds: float) -> TrialResult:
    return TrialResult(
        rows=tuple(_with_remark(row, trained.remark) for row in rows),
        history=trained.history,
        resumes=trained.resumes,
        best_epoch=trained.best.epoch if trained.best else None,
        val_loss=trained.best.val_loss if trained.best else None,
        train_seconds=trained.seconds,
        score_seconds=seconds,
    )


def _with_remark(row: InlierResult, remark: str) -> InlierResult:
    return replace(row, remark="; ".join(filter(None, [row.remark, remark])))


def fit_embeddings(
    embedder: Embedder, config: TrialConfig, data: TrialData
) -> dict[str, ClipEmbeddings]:
    """Embed the clips that inlier models are fitted on, by product ID. Collective."""
    part, _ = fit_parts(config, data)
    embeddings = embedder.clips(part, part.clips.tolist())
    ids = np.array([data.target.clips[i].id for i in part.clips])
    return {identity: embeddings.select(ids == identity) for identity in data.ids}


def fit_parts(config: TrialConfig, data: TrialData) -> tuple[Part, Part]:
    """Return the training clips that inlier models are fitted on, and those for the threshold.

    Inlier models of a trained encoder are fitted on the clips that it was not trained on.
    """
    options = config.options
    train_part, held_out = data.target_parts(options.validation_share, config.seed)
    if options.inlier_fit == "all":
        everything = np.sort(np.concatenate([train_part.clips, held_out.clips]))
        whole = replace(held_out, clips=everything)
        return whole, whole
    # A model scores the clips it was fitted on too well to set a threshold by them.
    if find_method(options).is_trained:
        return held_out, train_part
    return train_part, held_out


def fit_inlier(
    spec: InlierSpec,
    identity: str,
    encoder: Encoder,
    config: TrialConfig,
    data: TrialData,
    fits: Mapping[str, ClipEmbeddings],
) -> InlierModel:
    """Fit an inlier model for one product ID.

    Raises:
        FitError: the model cannot be fitted to these embeddings; the message names the ID.
    """
    rows, direct = fits[identity].rows, None
    if spec.name == "none":
        method = find_method(config.options)
        direct = method.direct_score(encoder, data.ids.index(identity), rows)
    try:
        return fit(
            spec,
            rows,
            seed=config.seed,
            reg_covar=config.options.reg_covar,
            direct=direct,
        )
    except FitError as error:
        raise FitError(f"ID {identity}: {error}") from error


def restore_inlier(spec: InlierSpec, options: Options, arrays: Mapping[str, Rows]) -> InlierModel:
    """Rebuild a fitted inlier model from its arrays.

    Args:
        spec: inlier model and p.
        options: of the encoder.
        arrays: of the model, by name.
    """
    return restore(spec.name, spec.p, arrays, direct=find_method(options).direct)


def _validation_embeddings(
    embedder: Embedder, data: TrialData
) -> dict[str, tuple[ClipEmbeddings, NDArray[np.int64]]]:
    """Embed the test clips of each validation ID: ID -> embeddings and labels (C,)."""
    store = data.validation
    if not store.clips:
        return {}
    part = Part(store, np.arange(len(store.clips)), data.target.mean, data.target.std)
    embeddings = embedder.clips(part, range(len(store.clips)))
    ids = np.array([clip.id for clip in store.clips])
    labels = np.array([clip.label for clip in store.clips], np.int64)
    return {
        identity: (embeddings.select(ids == identity), labels[ids == identity])
        for identity in dict.fromkeys(ids.tolist())
    }


def _row(
    spec: InlierSpec,
    options: Options,
    fits: Sequence[ClipEmbeddings],
    tests: Mapping[str, tuple[ClipEmbeddings, NDArray[np.int64]]],
    outcomes: Mapping[str, Outcome],
) -> InlierResult:
    """Return the result of an inlier model from the scores of segments by product ID."""
    # A detector needs a model of every ID, so a model that cannot be fitted for a test ID has
    # no score; only its training clips tell.
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ValueError)]
    if errors:
        return InlierResult(spec.name, spec.p, error=str(errors[0]))
    remarks = [remark(spec, len(clips), *clips.rows.shape) for clips in fits]
    degenerate = next(filter(None, remarks), "")
    if not tests:
        return InlierResult(spec.name, spec.p, remark=degenerate)
    scores = {
        identity: aggregate(spec.name, segments, tests[identity][0].counts, options.aggregator)
        for identity, segments in outcomes.items()
        if isinstance(segments, np.ndarray)
    }
    try:
        score = machine_score({k: labels for k, (_, labels) in tests.items()}, scores)
    except ValueError as error:
        return InlierResult(spec.name, spec.p, error=str(error))
    return InlierResult(
        spec.name,
        spec.p,
        score.hmean,
        {k: auc for k, (auc, _) in score.per_id.items()},
        {k: pauc for k, (_, pauc) in score.per_id.items()},
        remark=score.remark or degenerate,
    )


def clip_scores(
    spec: InlierSpec, model: InlierModel, embeddings: ClipEmbeddings, options: Options
) -> NDArray[np.float64]:
    """Return the scores (C,) of clips, higher = more anomalous."""
    scores = model.score(embeddings.rows)
    return aggregate(spec.name, scores, embeddings.counts, options.aggregator)
