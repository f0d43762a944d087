"""Detector of a winner, fitted on the recordings of the search."""

from upath import UPath

from raysearch.config import Options
from raysearch.data.dataset import TrialData
from raysearch.detector import EncoderDetector
from raysearch.errors import UserError
from raysearch.scoring.inlier import FitError
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.folder import StudyFolder
from raysearch.study.winner import Winner
from raysearch.training.embedding import Embedder
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
            f"the checkpoint of trial {winner.trial} is deleted; the same `raysearch run` command "
            "trains it again"
        )
    encoder = load_trained(options, len(data.ids), checkpoints).encoder
    embedder = Embedder(encoder, options, data.ids)
    fits = fit_embeddings(embedder, config, data)
    _, part = fit_parts(config, data)
    models, thresholds = {}, {}
    for identity in data.ids:
        try:
            models[identity] = fit_inlier(winner.inlier, identity, encoder, config, data, fits)
        except FitError as error:
            raise UserError(f"no detector of {winner.machine}: {error}") from error
        clips = [i for i in part.clips.tolist() if data.target.clips[i].id == identity]
        embeddings = embedder.clips(part, clips)
        scores = clip_scores(winner.inlier, models[identity], embeddings, options)
        thresholds[identity] = gamma_threshold(scores, options.threshold_quantile)
    return EncoderDetector(
        winner.machine, options, part.mean, part.std, thresholds, winner.inlier, encoder, models
    )
