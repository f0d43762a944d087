"""Detector of a winner, fitted on the recordings of the search."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from upath import UPath

from raysearch.config import UNTRAINED, Options
from raysearch.data.dataset import TrialData
from raysearch.data.store import read_header
from raysearch.detector import EncoderDetector
from raysearch.errors import UserError
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import FitError, InlierModel, InlierSpec
from raysearch.scoring.metrics import Floats
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.folder import StudyFolder
from raysearch.study.winner import Winner
from raysearch.training.configuration import TrialConfig
from raysearch.training.embedding import ClipEmbeddings, Embedder
from raysearch.training.leave_out import leave_out_scores, untrained_clips
from raysearch.training.network import new_encoder
from raysearch.training.reference import INLIER, reference_config
from raysearch.training.state import is_trained
from raysearch.training.train import load_trained
from raysearch.training.trial import clip_scores, fit_embeddings, fit_inlier, fit_parts


def build_detector(
    winner: Winner, options: Options, data: TrialData, folder: UPath
) -> EncoderDetector:
    """Fit the winner's inlier model for every product ID and set the thresholds.

    Args:
        winner: frozen configuration.
        options: fixed ones of the study.
        data: recordings of the search.
        folder: of the study.

    Raises:
        UserError: the checkpoint of the encoder is deleted, or an ID's model cannot be fitted.
    """
    config = winner.config(options)
    options = config.options
    checkpoints = StudyFolder(folder).encoder(winner.encoder)
    if not is_trained(checkpoints):
        raise UserError(
            f"the checkpoint of trial {winner.trial} is deleted, or its disk does not keep it: "
            f"check {checkpoints}; the same `raysearch run` command trains it again"
        )
    encoder = load_trained(options, len(data.ids), checkpoints).encoder
    return _fit(_Fitting(winner.inlier, encoder, config, data))


def reference_detector(config: TrialConfig, data: TrialData) -> EncoderDetector:
    """Fit the detector of the reference.

    Args:
        config: of a trial of the study.
        data: recordings of the search.

    Raises:
        UserError: an ID's model cannot be fitted.
    """
    reference = reference_config(config)
    encoder = new_encoder(reference.options, len(data.ids), pretrained=False)
    return _fit(_Fitting(INLIER, encoder, reference, data))


def _fit(fitting: "_Fitting") -> EncoderDetector:
    encoder, config, data = fitting.encoder, fitting.config, fitting.data
    options = config.options
    embedder = Embedder(encoder, options, data.ids)
    fits = fit_embeddings(embedder, config, data)
    models, thresholds, normal, kept = {}, {}, {}, {}
    for identity in data.ids:
        try:
            models[identity] = fitting.fit(identity, fits[identity])
        except FitError as error:
            raise UserError(f"no detector of {config.machine}: {error}") from error
        scores = fitting.normal_scores(identity, embedder, models[identity], fits[identity])
        thresholds[identity] = gamma_threshold(scores, options.threshold_quantile)
        normal[identity] = float(scores.mean()), float(scores.std())
        kept[identity] = tuple(scores.tolist())
    mean, std = data.target.mean, data.target.std
    return EncoderDetector(
        config.machine,
        options,
        mean,
        std,
        thresholds,
        fitting.spec,
        encoder,
        models,
        normal=normal,
        normal_scores=kept,
        recorded_rate=_recorded_rate(data),
    )


def _recorded_rate(data: TrialData) -> int | None:
    """Return the lowest sampling rate in Hz among the first training recordings of all IDs."""
    first = {clip.id: clip.path for clip in reversed(data.target.clips)}
    # A recording that is no longer there must not cost the run its detector.
    with suppress(UserError):
        return min(read_header(path)[0] for path in first.values())
    return None


@dataclass(frozen=True)
class _Fitting:
    """An inlier model and all that it is fitted with."""

    spec: InlierSpec
    encoder: Encoder
    config: TrialConfig
    data: TrialData

    def fit(self, identity: str, clips: ClipEmbeddings) -> InlierModel:
        """Fit the model of a product ID to some clips of it."""
        return fit_inlier(
            self.spec, identity, self.encoder, self.config, self.data, {identity: clips}
        )

    def normal_scores(
        self, identity: str, embedder: Embedder, model: InlierModel, fitted: ClipEmbeddings
    ) -> Floats:
        """Score the normal training clips of a product ID that set its threshold.

        Args:
            identity: product ID.
            embedder: of the encoder.
            model: of the product ID.
            fitted: clips that the model was fitted on.

        Returns:
            (C,), higher = more anomalous, each by a model that was not fitted on the clip.
        """
        options = self.config.options
        fit_part, part = fit_parts(self.config, self.data)
        clips = [i for i in part.clips.tolist() if self.data.target.clips[i].id == identity]
        if self.spec.name == "none":
            _, held_out = self.data.target_parts(options.validation_share, self.config.seed)
            everything = [i for i, c in enumerate(self.data.target.clips) if c.id == identity]
            few = untrained_clips(everything, held_out)
            clips = few if len(few) < len(everything) else clips
            return clip_scores(self.spec, model, embedder.clips(part, clips), options)
        fit = partial(self.fit, identity)
        if part is fit_part:
            return leave_out_scores(self.spec, options, fit, model, fitted)
        scores = clip_scores(self.spec, model, embedder.clips(part, clips), options)
        if options.method not in UNTRAINED:
            return scores
        # The model has most of the clips; the rest alone would be few for a threshold.
        inside = leave_out_scores(self.spec, options, fit, model, fitted)
        return np.concatenate([scores, inside])
