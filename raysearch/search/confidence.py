"""How sure a winner is: the interval of its score, and that of its lead on the second."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from upath import UPath

from raysearch.audio.dataset import TrialData
from raysearch.config import Options
from raysearch.score.bootstrap import Judged, interval, resampled_scores
from raysearch.score.inlier import FitError, InlierSpec
from raysearch.search.ranking import Candidate, Ranking, Training
from raysearch.search.study import StudyFolder
from raysearch.storage import write_text
from raysearch.train import is_trained, load_trained
from raysearch.trial import validation_scores

Members = tuple[tuple[str, str, float | None], ...]
"""Signature of an encoder, inlier model and p, for each seed of a configuration."""

SEED = 0
"""Of the draws, which are the same in all studies: two runs of one search agree."""


@dataclass(frozen=True)
class Confidence:
    """What resampling the validation clips says of a winner; None where it could not be done.

    Attributes:
        of: what it was measured of: the winner.
        against: and the second; empty if its encoders are gone or there is none.
        low: the winner's mean score over its seeds is above, with 97.5 % confidence.
        high: and below.
        lead_low: its lead on the second's mean score is above, over as many seeds as both have.
        lead_high: and below.
        note: all that a reader must know, for the tables.
    """

    of: Members = ()
    against: Members = ()
    low: float | None = None
    high: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None
    note: str = ""

    @property
    def is_noise(self) -> bool:
        """Whether the second may as well be the better one."""
        return self.lead_low is not None and self.lead_low <= 0


def read_confidence(folder: UPath) -> Confidence:
    """What `confidence.json` of a run says; nothing if there is none."""
    path = folder / "confidence.json"
    if not path.is_file():
        return Confidence()
    content = json.loads(path.read_text())
    for key in ("of", "against"):
        content[key] = tuple((encoder, inlier, p) for encoder, inlier, p in content[key])
    return Confidence(**content)


def write_confidence(confidence: Confidence, folder: UPath) -> None:
    """Writes `confidence.json`."""
    write_text(folder / "confidence.json", json.dumps(asdict(confidence), indent=2) + "\n")


def measure(
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
    name, p = candidate.spec.name, candidate.spec.p
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
    found: list[Judged] = []
    for one in trainings:
        folder = study.encoder(one.record.encoder)
        encoder = load_trained(options, len(data.ids), folder).encoder
        spec = InlierSpec(one.row.inlier, one.row.p)
        config = one.record.proposal.config(data.machine, data.fingerprint, one.seed, options)
        try:
            found.append(validation_scores(spec, encoder, config, data))
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
