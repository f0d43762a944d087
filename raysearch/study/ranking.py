"""How the configurations of a study compare: by their scores with one seed, or with several."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from raysearch.config import Configuration
from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from raysearch.training.outcome import InlierResult


@dataclass(frozen=True)
class Training:
    """One encoder of a configuration, and what became of the configuration's inlier model on it."""

    record: Record
    row: InlierResult

    @property
    def score(self) -> float:
        """Validation score."""
        assert self.row.val_score is not None
        return self.row.val_score

    @property
    def seed(self) -> int:
        """Of the encoder."""
        return self.record.seed


@dataclass(frozen=True)
class Candidate:
    """A configuration: of an encoder, an inlier model and its p.

    Attributes:
        trainings: those with a score, that of the search first, then by their numbers.
        sound: whether every further seed has a score, too.
    """

    trainings: tuple[Training, ...]
    sound: bool

    @property
    def proposal(self) -> Proposal:
        """Of the trial of the search."""
        return self.trainings[0].record.proposal

    @property
    def inlier(self) -> InlierSpec:
        """Its inlier model."""
        return self.trainings[0].row.spec

    @property
    def configuration(self) -> Configuration:
        """Of its encoder, which others share that differ in the inlier model alone."""
        return self.proposal.configuration

    @property
    def best(self) -> Training:
        """The training of the highest score, the first of equals."""
        return max(self.trainings, key=lambda training: training.score)

    def mean(self, seeds: int | None = None) -> float:
        """Mean validation score over its first seeds; None takes all."""
        return fmean(training.score for training in self.trainings[:seeds])

    @property
    def std(self) -> float | None:
        """Standard deviation of a seed's score (n - 1); None of a single one."""
        scores = [training.score for training in self.trainings]
        return stdev(scores) if len(scores) > 1 else None


@dataclass(frozen=True)
class Ranking:
    """The configurations that compare; one at least.

    Attributes:
        candidates: by their mean over the first seeds, the best first, of equals the earlier.
        seeds: how many first seeds that is.
    """

    candidates: tuple[Candidate, ...]
    seeds: int

    @cached_property
    def winner(self) -> Candidate:
        """The best encoder's best inlier model.

        An encoder that has more seeds than it is compared by shows with all of them which of its
        inlier models is the best.
        """
        configuration = self.candidates[0].configuration
        own = [one for one in self.candidates if one.configuration == configuration]
        most = max(len(one.trainings) for one in own)
        return max((one for one in own if len(one.trainings) == most), key=Candidate.mean)

    @property
    def second(self) -> Candidate | None:
        """The best one with another encoder; else the best other inlier model of the winner's."""
        configuration = self.winner.configuration
        apart = (one for one in self.candidates if one.configuration != configuration)
        others = (one for one in self.candidates if one is not self.winner)
        return next(apart, next(others, None))


def rank(records: Sequence[Record]) -> Ranking | None:
    """Ranks the configurations of a study.

    Finalists have further seeds, and those alone compare that have equally many: the most seeds
    that two encoders have. What failed with a further seed is out. Where no two encoders have
    further seeds, all compare by the seed of the search.

    Args:
        records: of the study, in any order.

    Returns:
        None if no trial has a score.
    """
    found = _candidates(records)
    if not found:
        return None
    if any(one.sound and len(one.trainings) > 1 for one in found):
        found = [one for one in found if one.sound]
    most: dict[Configuration, int] = {}
    for one in found:
        known = most.get(one.configuration, 0)
        most[one.configuration] = max(known, len(one.trainings))
    seeds = sorted(most.values())[-2:][0]
    compared = [one for one in found if len(one.trainings) >= seeds]
    compared.sort(key=lambda one: -one.mean(seeds))  # stable: of equals the earlier stays first
    return Ranking(tuple(compared), seeds)


def caveats(ranking: Ranking, records: Sequence[Record], finalists: Finalists | None) -> list[str]:
    """What the finalists lack of the comparison that was asked for, for people.

    Args:
        ranking: of the study.
        records: of the study.
        finalists: that were asked for.
    """
    if finalists is None:
        return []
    compared = {one.proposal.number for one in ranking.candidates}
    best = [record.proposal.number for record in best_trials(records, finalists.top)]
    found = []
    if len(best) > 1 and ranking.seeds < finalists.seeds:
        found.append(f"the finalists were compared by {ranking.seeds} of {finalists.seeds} seeds")
    if missing := [str(number) for number in best if number not in compared]:
        which = f"finalist{'s' * (len(missing) > 1)} {', '.join(missing)}"
        found.append(f"not compared, for want of a seed: {which}")
    return found


def _candidates(records: Sequence[Record]) -> list[Candidate]:
    """Every row with a score of every trial of the search, by trial and row."""
    ordered = sorted(records, key=lambda record: record.proposal.number)
    further = defaultdict[int, list[Record]](list)
    for record in ordered:
        if record.proposal.rerun_of is not None:
            further[record.proposal.rerun_of].append(record)
    return [
        _candidate(record, row, further[record.proposal.number])
        for record in ordered
        if record.state is State.COMPLETE and record.proposal.rerun_of is None
        for row in record.rows
        if row.val_score is not None
    ]


def _candidate(record: Record, row: InlierResult, further: Sequence[Record]) -> Candidate:
    again = [
        Training(other, same)
        for other in further
        for same in other.rows
        if (same.inlier, same.p) == (row.inlier, row.p) and same.val_score is not None
    ]
    return Candidate((Training(record, row), *again), sound=len(again) == len(further))
