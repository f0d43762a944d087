"""Ranking of a study's configurations by their mean scores over seeds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials, is_choice
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult

ONE_SEED = "one seed: no claim that it is better than the second"
"""Remark on a winner whose lead another seed might turn round."""


@dataclass(frozen=True)
class Training:
    """An encoder of a configuration and the result of the configuration's inlier model."""

    record: Record
    row: InlierResult

    @property
    def score(self) -> float | None:
        """Validation score; None without validation IDs."""
        return self.row.val_score

    @property
    def seed(self) -> int:
        """Seed of the encoder."""
        return self.record.seed


@dataclass(frozen=True)
class Candidate:
    """A configuration: of an encoder, an inlier model and its p.

    Attributes:
        trainings: trainings that did not fail: that of the search first, then by trial number.
        sound: True if no further seed failed.
    """

    trainings: tuple[Training, ...]
    sound: bool

    @property
    def proposal(self) -> Proposal:
        """Proposal of the trial of the search."""
        return self.trainings[0].record.proposal

    @property
    def inlier(self) -> InlierSpec:
        """Inlier model of the configuration."""
        return self.trainings[0].row.spec

    @property
    def configuration(self) -> Configuration:
        """Configuration of the encoder; candidates may differ in the inlier model alone."""
        return self.proposal.configuration

    @property
    def best(self) -> Training:
        """The training of the highest score, the first of equals."""
        return max(self.trainings, key=lambda training: training.score or 0.0)

    @property
    def scores(self) -> list[float]:
        """Validation scores of the trainings; empty without validation IDs."""
        return [training.score for training in self.trainings if training.score is not None]

    def mean(self, seeds: int | None = None) -> float:
        """Return the mean validation score over the first seeds; None takes all.

        There are scores, so the study has validation IDs.
        """
        assert self.scores, self
        return fmean(self.scores[:seeds])

    @property
    def std(self) -> float | None:
        """Standard deviation of a seed's score (n - 1); None for a single seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Ranking:
    """The ranked configurations; at least one.

    Attributes:
        candidates: by mean score over the first seeds, the best first; ties by trial number.
        seeds: number of first seeds compared.
        tried: all configurations of the search that did not fail, in order of trials and rows.
    """

    candidates: tuple[Candidate, ...]
    seeds: int
    tried: tuple[Candidate, ...] = ()

    @cached_property
    def winner(self) -> Candidate:
        """The best encoder's best inlier model.

        The inlier models of an encoder compare by all seeds of the encoder, which may be more than
        `seeds`.
        """
        configuration = self.candidates[0].configuration
        siblings = [c for c in self.candidates if c.configuration == configuration]
        most = max(len(sibling.trainings) for sibling in siblings)
        return max((s for s in siblings if len(s.trainings) == most), key=_rank_value)

    @property
    def second(self) -> Candidate | None:
        """The best candidate with another encoder; else with another inlier model."""
        configuration = self.winner.configuration
        other_encoders = (c for c in self.candidates if c.configuration != configuration)
        losers = (c for c in self.candidates if c is not self.winner)
        return next(other_encoders, next(losers, None))


def _rank_value(candidate: Candidate, seeds: int | None = None) -> float:
    """Return the mean score; 0 without validation IDs, where there is nothing to compare."""
    return candidate.mean(seeds) if candidate.scores else 0.0


def rank(records: Sequence[Record]) -> Ranking | None:
    """Rank the configurations of a study.

    Configurations compare by the largest number of seeds that two encoders have; those with fewer
    seeds are left out, as are those without a score for a further seed if a finalist has them all.
    Where no two encoders have further seeds, all compare by the seed of the search.

    Args:
        records: of the study, in any order.

    Returns:
        None if no trial has a score, or, without validation IDs, if none was trained.
    """
    candidates = tried = _candidates(records)
    if not candidates:
        return None
    if any(candidate.sound and len(candidate.trainings) > 1 for candidate in candidates):
        candidates = [candidate for candidate in candidates if candidate.sound]
    most: dict[Configuration, int] = {}
    for candidate in candidates:
        count = max(most.get(candidate.configuration, 0), len(candidate.trainings))
        most[candidate.configuration] = count
    seeds = sorted(most.values())[-2:][0]
    compared = [candidate for candidate in candidates if len(candidate.trainings) >= seeds]
    # Stable: ties by trial number.
    compared.sort(key=lambda candidate: -_rank_value(candidate, seeds))
    return Ranking(tuple(compared), seeds, tuple(tried))


def caveats(ranking: Ranking, records: Sequence[Record], finalists: Finalists | None) -> list[str]:
    """List the shortcomings of the comparison, for display.

    Args:
        ranking: of the study.
        records: of the study.
        finalists: requested numbers of finalists and seeds.
    """
    shortcomings = []
    if ranking.second is not None and ranking.seeds == 1:
        shortcomings.append(ONE_SEED)
    if finalists is None:
        return shortcomings
    compared = {candidate.proposal.number for candidate in ranking.candidates}
    best = [record.proposal.number for record in best_trials(records, finalists.top)]
    if len(best) > 1 and ranking.seeds < finalists.seeds:
        shortcomings.append(
            f"the finalists were compared by {ranking.seeds} of {finalists.seeds} seeds"
        )
    if missing := [str(number) for number in best if number not in compared]:
        which = f"finalist{'s' * (len(missing) > 1)} {', '.join(missing)}"
        shortcomings.append(f"not compared, for want of a seed: {which}")
    return shortcomings


def _candidates(records: Sequence[Record]) -> list[Candidate]:
    """List all rows without a failure of all trials of the search, by trial and row."""
    ordered = sorted(records, key=lambda record: record.proposal.number)
    further = defaultdict[int, list[Record]](list)
    encoders = {(record.proposal.number, record.encoder) for record in ordered}
    for record in ordered:
        base = record.proposal.rerun_of
        # An encoder whose checkpoint was deleted may have been trained again: that is no new seed.
        if base is not None and (base, record.encoder) not in encoders:
            encoders.add((base, record.encoder))
            further[base].append(record)
    return [
        _candidate(record, row, further[record.proposal.number])
        for record in ordered
        if record.state is State.COMPLETE and is_choice(record.proposal)
        for row in record.rows
        if not row.error
    ]


def _candidate(record: Record, row: InlierResult, further: Sequence[Record]) -> Candidate:
    reruns = [
        Training(rerun, result)
        for rerun in further
        for result in rerun.rows
        if (result.inlier, result.p) == (row.inlier, row.p) and not result.error
    ]
    return Candidate((Training(record, row), *reruns), sound=len(reruns) == len(further))


def trials_since_best(records: Sequence[Record]) -> int:
    """Count the trials after the best one, by number; failed trials are left out."""
    since, best = 0, float("-inf")
    for record in sorted(records, key=lambda r: r.proposal.number):
        if record.state is State.FAIL or record.proposal.rerun_of is not None:
            continue
        row = record.best
        if record.state is State.COMPLETE and row is not None and (row.val_score or 0.0) > best:
            since, best = 0, row.val_score or 0.0
        else:
            since += 1
    return since
