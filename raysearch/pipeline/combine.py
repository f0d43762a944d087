"""The detectors of finished studies combined: standardised scores, weights, thresholds.

Shape letters: C clips, M members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raysearch.config import PARALLEL
from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.detector import EncoderDetector
from raysearch.errors import UserError
from raysearch.pipeline.finished import FinishedStudy
from raysearch.scoring.inlier import InlierModel
from raysearch.scoring.metrics import ClipScores, Floats, MachineScore, machine_score
from raysearch.scoring.threshold import gamma_threshold
from raysearch.scoring.weights import choose_weights
from raysearch.study.bundle import load_detector
from raysearch.study.ensemble import Ensemble, Member
from raysearch.study.members import Weights
from raysearch.training.configuration import TrialConfig
from raysearch.training.embedding import ClipEmbeddings
from raysearch.training.leave_out import leave_out_scores, untrained_clips
from raysearch.training.trial import fit_inlier, fit_parts


@dataclass(frozen=True)
class Combination:
    """An ensemble and its scores of the validation clips.

    Attributes:
        validation_clips: validation ID -> labels and scores of its clips.
    """

    ensemble: Ensemble
    validation_clips: ClipScores

    @property
    def validation_score(self) -> MachineScore:
        """AUC and pAUC of the validation IDs, of which there must be some."""
        clips = self.validation_clips
        return machine_score(
            {identity: labels for identity, (labels, _) in clips.items()},
            {identity: scores for identity, (_, scores) in clips.items()},
        )


def combine(studies: Mapping[str, FinishedStudy], data: TrialData, weights: Weights) -> Combination:
    """Combine the detectors of studies of the same recordings.

    Each member's scores are standardised by those of normal training clips alone. Weights are equal
    or chosen on the clips of the validation IDs. No test clip is read.

    Args:
        studies: members by name.
        data: recordings of their searches.
        weights: rule of the weights.

    Raises:
        UserError: the scores of a member cannot be standardised.
    """
    measured = [_measure(name, study, data, 1 / len(studies)) for name, study in studies.items()]
    members = [each.member for each in measured]
    first = members[0].detector
    epochs = first.options.epochs or 1  # A method without a training has none.
    options = first.options.replace({"method": PARALLEL, "epochs": epochs})
    unset = dict.fromkeys(data.ids, 0.0)
    ensemble = Ensemble(
        first.machine,
        options,
        first.mean,
        first.std,
        unset,
        tuple(members),
        recorded_rate=first.recorded_rate,
    )
    embeddings = _validation_embeddings(ensemble, data)
    if weights == "validation":
        labels = {identity: truth for identity, (truth, _) in embeddings.items()}
        standardised = {identity: values.rows for identity, (_, values) in embeddings.items()}
        chosen = choose_weights(labels, standardised).tolist()
        members = [replace(m, weight=w) for m, w in zip(members, chosen, strict=True)]
        ensemble = replace(ensemble, members=tuple(members))
    scores = _normal_scores(ensemble, measured, data)
    quantile = ensemble.options.threshold_quantile
    ensemble = replace(
        ensemble,
        thresholds={i: gamma_threshold(values, quantile) for i, values in scores.items()},
        normal={i: (float(values.mean()), float(values.std())) for i, values in scores.items()},
        normal_scores={i: tuple(values.tolist()) for i, values in scores.items()},
    )
    clips = {
        identity: (truth, ensemble.score_clips(values, identity))
        for identity, (truth, values) in embeddings.items()
    }
    return Combination(ensemble, clips)


@dataclass(frozen=True)
class _Measured:
    """A member with its scores (C,) of all training clips, each by a model not fitted on it."""

    member: Member
    scores: Floats


def _measure(name: str, study: FinishedStudy, data: TrialData, weight: float) -> _Measured:
    """Load a detector, score the training clips, and take mean and standard deviation by ID."""
    detector = load_detector(study.folder / "detector")
    assert isinstance(detector, EncoderDetector), study.folder
    config = study.winner.config(study.space.fixed)
    part = _training_clips(data)
    embeddings = detector.embed_clips(part, part.clips.tolist())
    _, held_out = data.target_parts(config.options.validation_share, config.seed)
    fitted = set(fit_parts(config, data)[0].clips.tolist())
    scores, normal = np.empty(len(embeddings)), {}
    for identity in data.ids:
        clips = _clips_of(data, identity)
        scores[clips] = detector.score_clips(embeddings.select(clips), identity)
        judged = clips
        if detector.spec.name == "none":
            judged = untrained_clips(clips, held_out)
        else:
            inside = [clip for clip in clips if clip in fitted]
            fit = partial(_fit, detector, config, data, identity)
            scores[inside] = leave_out_scores(
                detector.spec,
                detector.options,
                fit,
                detector.models[identity],
                embeddings.select(inside),
            )
        normal[identity] = float(scores[judged].mean()), float(scores[judged].std())
        if not normal[identity][1] > 0:
            raise UserError(
                f"{study.folder} scores all normal clips of ID {identity} alike, so its scores "
                "cannot be standardised; leave the run out"
            )
    return _Measured(Member(name, detector, weight, normal), scores)


def _fit(
    detector: EncoderDetector,
    config: TrialConfig,
    data: TrialData,
    identity: str,
    clips: ClipEmbeddings,
) -> InlierModel:
    encoder = detector.encoder
    return fit_inlier(detector.spec, identity, encoder, config, data, {identity: clips})


def _training_clips(data: TrialData) -> Part:
    store = data.target
    return Part(store, np.arange(len(store.clips)), store.mean, store.std)


def _clips_of(data: TrialData, identity: str) -> list[int]:
    return [i for i, clip in enumerate(data.target.clips) if clip.id == identity]


def _validation_embeddings(
    ensemble: Ensemble, data: TrialData
) -> dict[str, tuple[NDArray[np.int64], ClipEmbeddings]]:
    """Return labels (C,) and standardised scores (M,) of the clips of each validation ID."""
    store = data.validation
    if not store.clips:
        return {}
    part = Part(store, np.arange(len(store.clips)), ensemble.mean, ensemble.std)
    embeddings = ensemble.embed_clips(part, part.clips.tolist())
    ids = np.array([clip.id for clip in store.clips])
    labels = np.array([clip.label for clip in store.clips], np.int64)
    return {
        identity: (labels[ids == identity], embeddings.select(ids == identity))
        for identity in dict.fromkeys(ids.tolist())
    }


def _normal_scores(
    ensemble: Ensemble, measured: Sequence[_Measured], data: TrialData
) -> dict[str, Floats]:
    """Return the averaged scores (C,) of the training clips of each ID."""
    scores = {}
    for identity in data.ids:
        clips = _clips_of(data, identity)
        average = np.zeros(len(clips))
        for each, member in zip(measured, ensemble.members, strict=True):
            mean, std = member.normal[identity]
            average += member.weight * (each.scores[clips] - mean) / std
        scores[identity] = average
    return scores
