"""A trial, the whole walk: train the encoder, fit the inlier models, score the validation IDs.

It knows no scheduler: `report` is any callable, so it runs in a notebook as in a cluster.
"""

import time
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.config import Options, TrialConfig
from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import FitError, InlierModel, InlierSpec, aggregate, fit, remark
from raysearch.scoring.metrics import machine_score
from raysearch.storage import AnyPath
from raysearch.training.distributed import all_gather, broadcast, shard
from raysearch.training.embedding import Embedder
from raysearch.training.outcome import InlierResult, TrialResult, best_row
from raysearch.training.train import Report, Trained, train

Embeddings = NDArray[np.float32]


def run_trial(
    config: TrialConfig,
    data: TrialData,
    inliers: Sequence[InlierSpec],
    report: Report,
    folder: AnyPath,
    rungs: Collection[int] = (),
) -> TrialResult:
    """Trains one encoder and judges every inlier model on its embeddings.

    Workers of one trial call it alike, share the work, and all have the same result.

    Args:
        config: what defines the encoder.
        data: recordings, none of a test ID's test clips among them.
        inliers: inlier models to judge.
        report: told of every epoch.
        folder: of the encoder's checkpoints; an interrupted trial goes on from there.
        rungs: epochs after which the validation score is reported, too.

    Raises:
        TrialError: training diverged, or it cannot be done with so many workers or so little
            memory.
    """

    def judge(encoder: Encoder, _: int) -> float | None:
        best = best_row(score_inlier_models(encoder, config, data, inliers))
        return best.val_score if best else None

    trained = train(config, data, report, folder, judge, rungs)
    start = time.perf_counter()
    judged = score_inlier_models(trained.encoder, config, data, inliers)
    return _result(trained, judged, broadcast(lambda: time.perf_counter() - start))


def score_inlier_models(
    encoder: Encoder, config: TrialConfig, data: TrialData, inliers: Sequence[InlierSpec]
) -> tuple[InlierResult, ...]:
    """Fits inlier models on an encoder's embeddings and scores the validation IDs with each.

    Workers of a trial share the models, and all of them have the whole result.
    """
    embedder = Embedder(encoder, config.options)
    fits = fit_embeddings(embedder, config, data)
    tests = _validation_embeddings(embedder, data)
    mine = [_judge(spec, encoder, config, data, fits, tests) for spec in inliers[shard()]]
    return tuple(all_gather(mine, len(inliers)))


def score_validation_clips(
    spec: InlierSpec, encoder: Encoder, config: TrialConfig, data: TrialData
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Fits an inlier model on an encoder's embeddings and scores the clips that judge a trial.

    Returns:
        Validation ID -> labels (C,), 1 for an anomaly, and scores (C,), higher = more anomalous.

    Raises:
        FitError: an ID's embeddings cannot be fitted.
    """
    embedder = Embedder(encoder, config.options)
    fits = fit_embeddings(embedder, config, data)
    found = {}
    tests = _validation_embeddings(embedder, data)
    for identity, (embeddings, labels) in tests.items():
        model = fit_inlier(spec, identity, encoder, config, data, fits)
        found[identity] = labels, clip_scores(spec, model, embeddings, config.options)
    return found


def _result(trained: Trained, rows: Sequence[InlierResult], seconds: float) -> TrialResult:
    return TrialResult(
        rows=tuple(rows),
        history=trained.history,
        resumes=trained.resumes,
        best_epoch=trained.best.epoch,
        val_loss=trained.best.val_loss,
        train_seconds=trained.seconds,
        score_seconds=seconds,
    )


def fit_embeddings(
    embedder: Embedder, config: TrialConfig, data: TrialData
) -> dict[str, Embeddings]:
    """Embeds the clips that inlier models are fitted on.

    Returns:
        Product ID -> segments of its clips (N, D).
    """
    options = config.options
    train_part, held = data.target_parts(options.validation_share, config.seed)
    clips = held.clips
    if options.inlier_fit == "all":
        clips = np.sort(np.concatenate([train_part.clips, held.clips]))
    embeddings = embedder.clips(held, clips.tolist())
    owner = np.array([data.target.clips[i].id for i in clips])
    return {
        identity: embeddings[owner == identity].reshape(-1, embeddings.shape[2])
        for identity in data.ids
    }


def fit_inlier(
    spec: InlierSpec,
    identity: str,
    encoder: Encoder,
    config: TrialConfig,
    data: TrialData,
    fits: dict[str, Embeddings],
) -> InlierModel:
    """Fits an inlier model for one product ID.

    Raises:
        FitError: these embeddings cannot be fitted.
    """
    head = encoder.product_head.weight.detach().cpu().numpy()
    return fit(
        spec,
        fits[identity],
        seed=config.seed,
        reg_covar=config.options.reg_covar,
        head_row=head[data.ids.index(identity)],
    )


def _validation_embeddings(
    embedder: Embedder, data: TrialData
) -> dict[str, tuple[Embeddings, NDArray[np.int64]]]:
    """Product ID -> embeddings (C, S, D) and labels (C,) of its test clips."""
    store = data.validation
    part = Part(store, np.arange(len(store.clips)), data.target.mean, data.target.std)
    embeddings = embedder.clips(part, range(len(store.clips)))
    owner = np.array([clip.id for clip in store.clips])
    labels = np.array([clip.label for clip in store.clips], np.int64)
    return {
        identity: (embeddings[owner == identity], labels[owner == identity])
        for identity in dict.fromkeys(owner.tolist())
    }


def _judge(
    spec: InlierSpec,
    encoder: Encoder,
    config: TrialConfig,
    data: TrialData,
    fits: dict[str, Embeddings],
    tests: dict[str, tuple[Embeddings, NDArray[np.int64]]],
) -> InlierResult:
    scores, remarks = {}, []
    try:
        for identity, (embeddings, _) in tests.items():
            model = fit_inlier(spec, identity, encoder, config, data, fits)
            scores[identity] = clip_scores(spec, model, embeddings, config.options)
            remarks.append(remark(spec, *fits[identity].shape))
        found = machine_score({k: labels for k, (_, labels) in tests.items()}, scores)
    except (FitError, ValueError) as error:
        return InlierResult(spec.name, spec.p, error=str(error))
    return InlierResult(
        spec.name,
        spec.p,
        found.hmean,
        {k: auc for k, (auc, _) in found.per_id.items()},
        {k: pauc for k, (_, pauc) in found.per_id.items()},
        remark=next(filter(None, remarks), ""),
    )


def clip_scores(
    spec: InlierSpec, model: InlierModel, embeddings: Embeddings, options: Options
) -> NDArray[np.float64]:
    """Anomaly scores (C,) of clips from their embeddings (C, S, D), higher = more anomalous."""
    clips, count, dim = embeddings.shape
    segment_scores = model.score(embeddings.reshape(-1, dim)).reshape(clips, count)
    return aggregate(spec.name, segment_scores, options.aggregator)
