"""Confidence in the winner of a shared search, on the validation clips of all its machine types."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from raysearch.data.dataset import TrialData
from raysearch.scoring.metrics import ClipScores
from raysearch.study.confidence import RULE, Confidence, Members
from raysearch.study.context import StudyContext
from raysearch.study.ranking import Ranking, Training
from raysearch.study.resampling import resample_scores
from raysearch.study.selection import unselected_score
from raysearch.training.combined import combine_clips
from raysearch.training.state import is_trained

Parts = Sequence[tuple[StudyContext, TrialData]]
"""Contexts of the encoders of a trial, with the recordings of their machine types."""


def measure_shared_confidence(
    ranking: Ranking, previous: Confidence, parts: Parts, on_encoder: Callable[[int], None]
) -> Confidence:
    """Score the validation clips of all machine types with the encoders of the best two.

    Args:
        ranking: of the study.
        previous: earlier result, returned if it is of the same encoders.
        parts: of a trial.
        on_encoder: called with 1 after each encoder.
    """
    winner, second, seeds = ranking.winner, ranking.second, ranking.seeds
    # With one seed each there is no claim, as in `measure_confidence`.
    rivals = second.trainings[:seeds] if second is not None and seeds > 1 else ()
    tried = ranking.tried
    previous = replace(previous, choices=len(tried), unselected=unselected_score(tried))
    of, against = _members(winner.trainings), _members(rivals)
    if (previous.rule, previous.of, previous.against) == (RULE, of, against):
        return previous
    chosen = winner.trainings if _are_trained(winner.trainings, parts) else ()
    rivals = rivals if chosen and _are_trained(rivals, parts) else ()
    of, against = _members(chosen), _members(rivals)
    if (previous.rule, previous.of, previous.against) == (RULE, of, against):
        return previous
    scores, others = (_scores(each, parts, on_encoder) for each in (chosen, rivals))
    return replace(
        resample_scores(scores, others),
        of=of,
        against=against,
        choices=previous.choices,
        unselected=previous.unselected,
    )


def _members(trainings: Sequence[Training]) -> Members:
    return tuple((each.record.encoder, each.row.inlier, each.row.p) for each in trainings)


def _are_trained(trainings: Sequence[Training], parts: Parts) -> bool:
    return all(
        is_trained(part.encoder(training.record.proposal))
        for training in trainings
        for part, _ in parts
    )


def _scores(
    trainings: Sequence[Training], parts: Parts, on_encoder: Callable[[int], None]
) -> list[ClipScores]:
    """Score the validation clips with each training; empty if one of them cannot score them."""
    scores = [_clips(training, parts, on_encoder) for training in trainings]
    return scores if all(scores) else []


def _clips(training: Training, parts: Parts, on_encoder: Callable[[int], None]) -> ClipScores:
    """Score the validation clips; empty if an inlier model cannot be fitted."""
    # Late imports of torch: an earlier result needs none of these.
    from raysearch.scoring.inlier import FitError
    from raysearch.training.train import load_trained
    from raysearch.training.trial import score_validation_clips

    scores = {}
    for part, data in parts:
        proposal = training.record.proposal
        config = part.config(proposal)
        encoder = load_trained(config.options, len(data.ids), part.encoder(proposal)).encoder
        try:
            scored = score_validation_clips(training.row.spec, encoder, config, data)
        except FitError:  # Embeddings differ slightly between devices.
            return {}
        scores[data.machine] = scored
        on_encoder(1)
    return combine_clips(scores)
