"""Confidence in a winner, measured on the validation clips with the encoders of a study."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from raysearch.config import Options
from raysearch.data.dataset import TrialData
from raysearch.scoring.intervals import lead_interval, no_interval, score_interval
from raysearch.scoring.metrics import ClipScores
from raysearch.study.confidence import RULE, UNJUDGED, Confidence, Members
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import Candidate, Ranking, Training
from raysearch.study.selection import unselected_score
from raysearch.training.state import is_trained


def measure_confidence(
    ranking: Ranking,
    previous: Confidence,
    options: Options,
    data: TrialData,
    study: StudyFolder,
    on_encoder: Callable[[int], None],
) -> Confidence:
    """Score the validation clips with the encoders of the two best configurations.

    Args:
        ranking: of the study.
        previous: earlier result, returned if it is of the same encoders.
        options: fixed ones of the study.
        data: recordings of the search.
        study: folder with the encoders.
        on_encoder: called with 1 after each encoder.
    """
    winner, second = ranking.winner, ranking.second
    if not data.validation.clips:
        return Confidence(of=_members(winner), missing=UNJUDGED)
    # With one seed each there is no claim, so the second's encoder need not score the clips.
    rivals = _members(second, ranking.seeds) if ranking.seeds > 1 else ()
    wanted = _members(winner), rivals
    tried = ranking.tried
    previous = replace(previous, choices=len(tried), unselected=unselected_score(tried))
    is_kept = previous.rule == RULE
    if is_kept and (previous.of, previous.against) == wanted:
        return previous
    of = wanted[0] if _have_checkpoints(wanted[0], study) else ()
    against = wanted[1] if of and _have_checkpoints(wanted[1], study) else ()
    if is_kept and (previous.of, previous.against) == (of, against):
        return previous

    def scores(candidate: Candidate | None, members: Members) -> list[ClipScores]:
        trainings = candidate.trainings[: len(members)] if candidate else ()
        return _validation_scores(trainings, options, data, study, on_encoder)

    confidence = resample_scores(scores(winner, of), scores(second, against))
    return replace(
        confidence,
        of=of,
        against=against,
        choices=previous.choices,
        unselected=previous.unselected,
    )


def _members(candidate: Candidate | None, seeds: int | None = None) -> Members:
    if candidate is None:
        return ()
    name, p = candidate.inlier.name, candidate.inlier.p
    return tuple((training.record.encoder, name, p) for training in candidate.trainings[:seeds])


def _have_checkpoints(members: Members, study: StudyFolder) -> bool:
    return all(is_trained(study.encoder(encoder)) for encoder, _, _ in members)


def _validation_scores(
    trainings: Sequence[Training],
    options: Options,
    data: TrialData,
    study: StudyFolder,
    on_encoder: Callable[[int], None],
) -> list[ClipScores]:
    """Score the validation clips with each encoder; empty if an inlier model cannot be fitted."""
    # Late imports of torch: an earlier result needs none of these.
    from raysearch.scoring.inlier import FitError
    from raysearch.training.train import load_trained
    from raysearch.training.trial import score_validation_clips

    scores: list[ClipScores] = []
    for training in trainings:
        spec, proposal = training.row.spec, training.record.proposal
        config = proposal.config(data.machine, data.fingerprint, training.seed, options)
        folder = study.encoder(training.record.encoder)
        encoder = load_trained(config.options, len(data.ids), folder).encoder
        try:
            scores.append(score_validation_clips(spec, encoder, config, data))
        except FitError:  # Embeddings differ slightly between devices.
            return []
        on_encoder(1)
    return scores


def resample_scores(winner: Sequence[ClipScores], second: Sequence[ClipScores]) -> Confidence:
    """Compute the intervals of a score and of its lead, as far as there are scores.

    Args:
        winner: scores of the validation clips for each seed of the winner.
        second: likewise of the second, for the first of these seeds.
    """
    if not winner:
        return Confidence()
    missing = no_interval(winner)
    low, high = score_interval(winner) or (None, None)
    lead_low, lead_high = lead_interval(winner[: len(second)], second) or (None, None)
    return Confidence((), (), low, high, lead_low, lead_high, missing=missing)
