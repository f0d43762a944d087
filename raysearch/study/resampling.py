"""The confidence in a winner, measured by scoring resampled validation clips again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from raysearch.config import Options
from raysearch.data.dataset import TrialData
from raysearch.scoring.bootstrap import Judged, interval, resampled_scores
from raysearch.study.confidence import Confidence, Members
from raysearch.study.folder import StudyFolder
from raysearch.study.ranking import Candidate, Ranking, Training
from raysearch.training.state import is_trained

SEED = 0
"""Of the draws, which are the same in all studies: two runs of one search agree."""


def measure_confidence(
    ranking: Ranking,
    known: Confidence,
    options: Options,
    data: TrialData,
    study: StudyFolder,
    on_encoder: Callable[[int], None],
) -> Confidence:
    """Resamples the clips of the validation IDs, from the encoders of the two best configurations.

    Args:
        ranking: of the study.
        known: what was measured before; taken if it was of the same encoders.
        options: of the study.
        data: the recordings of the search.
        study: has the encoders.
        on_encoder: told of each encoder that was asked.
    """
    winner, second = ranking.winner, ranking.second
    wanted = _members(winner), _members(second, ranking.seeds)
    if (known.of, known.against) == wanted:
        return known
    of = wanted[0] if _stand(wanted[0], study) else ()
    against = wanted[1] if of and _stand(wanted[1], study) else ()
    if (known.of, known.against) == (of, against):
        return known

    def judged(candidate: Candidate | None, members: Members) -> list[Judged]:
        trainings = candidate.trainings[: len(members)] if candidate else ()
        return _judged(trainings, options, data, study, on_encoder)

    own, other = judged(winner, of), judged(second, against)
    return replace(_confidence(own, other), of=of, against=against)


def _members(candidate: Candidate | None, seeds: int | None = None) -> Members:
    if candidate is None:
        return ()
    name, p = candidate.inlier.name, candidate.inlier.p
    return tuple((one.record.encoder, name, p) for one in candidate.trainings[:seeds])


def _stand(members: Members, study: StudyFolder) -> bool:
    return all(is_trained(study.encoder(encoder)) for encoder, _, _ in members)


def _judged(
    trainings: Sequence[Training],
    options: Options,
    data: TrialData,
    study: StudyFolder,
    on_encoder: Callable[[int], None],
) -> list[Judged]:
    """Scores of the validation clips by each encoder; none if a model cannot be fitted here."""
    # Now: what was measured before is taken without them, and they import torch.
    from raysearch.scoring.inlier import FitError
    from raysearch.training.train import load_trained
    from raysearch.training.trial import score_validation_clips

    found: list[Judged] = []
    for one in trainings:
        folder = study.encoder(one.record.encoder)
        encoder = load_trained(options, len(data.ids), folder).encoder
        spec = one.row.spec
        config = one.record.proposal.config(data.machine, data.fingerprint, one.seed, options)
        try:
            found.append(score_validation_clips(spec, encoder, config, data))
        except FitError:  # Another device may embed a little differently.
            return []
        on_encoder(1)
    return found


def _confidence(own: Sequence[Judged], other: Sequence[Judged]) -> Confidence:
    """The intervals of the score and of the lead, as far as there are scores."""
    if not own:
        return Confidence()
    scores = resampled_scores([*own, *other], SEED)
    low, high = interval(scores[: len(own)].mean(axis=0))
    if not other:
        return Confidence(low=low, high=high)
    ours, theirs = scores[: len(other)].mean(axis=0), scores[len(own) :].mean(axis=0)
    return Confidence((), (), low, high, *interval(ours - theirs))
