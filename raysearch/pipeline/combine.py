"""The detectors of finished studies combined: standardised scores, weights, thresholds.

Shape letters: C clips, M members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.config import PARALLEL
from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.errors import UserError
from raysearch.pipeline.finished import FinishedStudy
from raysearch.scoring.bootstrap import ClipScores
from raysearch.scoring.metrics import MachineScore, machine_score
from raysearch.scoring.threshold import FEWEST_SCORES, gamma_threshold
from raysearch.scoring.weights import choose_weights
from raysearch.study.bundle import load_detector
from raysearch.study.ensemble import Ensemble, Member
from raysearch.study.members import Weights
from raysearch.training.trial import fit_parts


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
        """AUC and pAUC of the validation IDs."""
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
    members = [_member(name, study, data, 1 / len(studies)) for name, study in studies.items()]
    first = members[0].detector
    epochs = first.options.epochs or 1  # A method without a training has none.
    options = first.options.replace({"method": PARALLEL, "epochs": epochs})
    unset = dict.fromkeys(data.ids, 0.0)
    ensemble = Ensemble(first.machine, options, first.mean, first.std, unset, tuple(members))
    embeddings = _validation_embeddings(ensemble, data)
    if weights == "validation":
        labels = {identity: truth for identity, (truth, _) in embeddings.items()}
        scores = {identity: values[:, 0] for identity, (_, values) in embeddings.items()}
        chosen = choose_weights(labels, scores).tolist()
        members = [replace(m, weight=w) for m, w in zip(members, chosen, strict=True)]
        ensemble = replace(ensemble, members=tuple(members))
    ensemble = replace(ensemble, thresholds=_thresholds(ensemble, studies, data))
    clips = {
        identity: (truth, ensemble.score_clips(values, identity))
        for identity, (truth, values) in embeddings.items()
    }
    return Combination(ensemble, clips)


def _member(name: str, study: FinishedStudy, data: TrialData, weight: float) -> Member:
    """Load a detector and measure the scores of normal clips that it was not fitted on.

    Where these are too few, all training clips of the ID are scored.
    """
    detector = load_detector(study.folder / "detector")
    part = _training_clips(data)
    embeddings = detector.embed_clips(part, part.clips.tolist())
    normal = {}
    for identity in data.ids:
        clips = _unseen(data, identity, _fitted(study, data))
        scores = detector.score_clips(embeddings[clips], identity)
        normal[identity] = float(scores.mean()), float(scores.std())
        if not normal[identity][1] > 0:
            raise UserError(
                f"{study.folder} scores all normal clips of ID {identity} alike, so its scores "
                "cannot be standardised; leave the run out"
            )
    return Member(name, detector, weight, normal)


def _fitted(study: FinishedStudy, data: TrialData) -> set[int]:
    """Return the training clips that a winner's inlier models, or its network, were fitted on."""
    config = study.winner.config(study.space.fixed)
    if study.winner.inlier.name == "none":
        part, _ = data.target_parts(config.options.validation_share, config.seed)
    else:
        part, _ = fit_parts(config, data)
    return set(part.clips.tolist())


def _training_clips(data: TrialData) -> Part:
    store = data.target
    return Part(store, np.arange(len(store.clips)), store.mean, store.std)


def _unseen(data: TrialData, identity: str, fitted: set[int]) -> list[int]:
    """Return the training clips of an ID that are not fitted on; all where these are too few."""
    clips = [i for i, clip in enumerate(data.target.clips) if clip.id == identity]
    unseen = [i for i in clips if i not in fitted]
    return unseen if len(unseen) >= FEWEST_SCORES else clips


def _validation_embeddings(
    ensemble: Ensemble, data: TrialData
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return labels (C,) and standardised scores (C, 1, M) of the clips of each validation ID."""
    store = data.validation
    part = Part(store, np.arange(len(store.clips)), ensemble.mean, ensemble.std)
    embeddings = ensemble.embed_clips(part, part.clips.tolist())
    ids = np.array([clip.id for clip in store.clips])
    labels = np.array([clip.label for clip in store.clips], np.int64)
    return {
        identity: (labels[ids == identity], embeddings[ids == identity])
        for identity in dict.fromkeys(ids.tolist())
    }


def _thresholds(
    ensemble: Ensemble, studies: Mapping[str, FinishedStudy], data: TrialData
) -> dict[str, float]:
    """Return the threshold of each ID, by normal clips that no member was fitted on."""
    part = _training_clips(data)
    embeddings = ensemble.embed_clips(part, part.clips.tolist())
    fitted = set[int]().union(*(_fitted(study, data) for study in studies.values()))
    thresholds = {}
    for identity in data.ids:
        clips = _unseen(data, identity, fitted)
        scores = ensemble.score_clips(embeddings[clips], identity)
        thresholds[identity] = gamma_threshold(scores, ensemble.options.threshold_quantile)
    return thresholds
