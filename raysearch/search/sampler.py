"""The sampler of a study: proposals, results, and a journal for dashboards.

The n-th proposal is a function of the seed, n and the results so far. Optuna's sampler is created
anew for each proposal, so a resumed search proposes the same as an uninterrupted one.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from raysearch.config import Value, default_value
from raysearch.scoring.spec import InlierSpec
from raysearch.search.dimensions import (
    Axis,
    Choice,
    Dimension,
    axes,
    combinations,
    is_exhausted,
    p_axes,
    select,
)
from raysearch.search.optuna_backend import new_sampler, new_study
from raysearch.search.warm_start import WarmStart
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.training.conditions import dependences
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch

ATTEMPTS = 16
"""Repeats that Optuna may propose before a random configuration is drawn."""


class Sampler:
    """A source of distinct configurations for a study."""

    def __init__(
        self,
        space: Space,
        journal: Path | None,
        proposals: Sequence[Proposal] = (),
        records: Sequence[Record] = (),
    ) -> None:
        """Rebuild the study from its proposals and records.

        Args:
            space: search space.
            journal: file that mirrors the study for optuna-dashboard, replaced if it exists; None
                for no journal.
            proposals: all proposals of the search so far.
            records: records of the trials that ended.
        """
        self.space, self.axes, self.p_axes = space, axes(space), p_axes(space)
        self.rungs = space.rungs
        self.samples_inlier = space.strategy.inlier == "sample"
        # Optuna keeps rejected configurations as trials, so the mirror is a second study.
        self.sampling_study = new_study(space)
        self.study = new_study(space, journal)
        self.starts: list[WarmStart] = []
        self.seen = {proposal.key for proposal in proposals}
        self.next_number = 1 + max((p.number for p in proposals), default=-1)
        self.open: dict[int, tuple[int, int]] = {}
        """Number of a proposal -> Optuna IDs of the trial in `sampling_study` and in `study`."""
        ended = {record.proposal.number: record for record in records}
        for proposal in proposals:
            self._add(proposal)
            if proposal.number in ended:
                record = ended[proposal.number]
                for epoch in record.history:
                    if self._report_rung(proposal.number, epoch):
                        self.study.record_rung(self.open[proposal.number][1])
                self.tell(record)

    def enqueue(self, starts: Sequence[WarmStart]) -> None:
        """Add configurations to propose first, each moved to the nearest one of the space."""
        self.starts += starts

    def ask(self, number: int | None = None) -> Proposal | None:
        """Propose the next trial; None if the space is exhausted.

        Args:
            number: of the trial; None is the next number.
        """
        if number is not None:
            self.next_number = number
        if self.exhausted:
            return None
        proposal = next(p for p in self._candidates() if p.key not in self.seen)
        self.seen.add(proposal.key)
        self._add(proposal)
        self.next_number += 1
        return proposal

    @property
    def exhausted(self) -> bool:
        """True if every configuration of the space was proposed."""
        return is_exhausted(self.space, self.seen)

    def report(self, number: int, epoch: Epoch) -> bool:
        """Report an epoch of a trial.

        Returns:
            True if the trial should be pruned.
        """
        if not self._report_rung(number, epoch):
            return False
        return Trial(self.study.study, self.open[number][1]).should_prune()

    def _report_rung(self, number: int, epoch: Epoch) -> bool:
        """Report an epoch to Optuna if it is a new rung of the trial; return True if it is."""
        if epoch.epoch not in self.rungs or (value := self._value(epoch)) is None:
            return False
        for study, trial_id in zip(
            (self.sampling_study, self.study), self.open[number], strict=True
        ):
            # A resumed trial may repeat an epoch.
            if epoch.epoch in study.trial(trial_id).intermediate_values:
                return False
            Trial(study.study, trial_id).report(value, epoch.epoch)
        return True

    def _value(self, epoch: Epoch) -> float | None:
        """Return the value that rungs compare; the study maximises it."""
        if self.space.strategy.metric == "score":
            return epoch.val_score
        parts = [epoch.val_machine_loss, epoch.val_product_loss]
        losses = [loss for loss in parts if loss is not None]
        # Without λ, so that trials of different λ are comparable.
        return -sum(losses) if losses else -epoch.val_loss

    def tell(self, record: Record) -> None:
        """Report the result of a trial; a second result is ignored."""
        trial_ids = self.open.pop(record.proposal.number, None)
        if trial_ids is None:
            return
        best = record.best if record.state is State.COMPLETE else None
        for study, trial_id in zip((self.sampling_study, self.study), trial_ids, strict=True):
            number = study.trial(trial_id).number
            if best is not None and best.val_score is not None:
                study.study.tell(number, best.val_score)
            # Optuna has no state of a trial that was trained without a score; it did not fail.
            elif record.state is State.PRUNED or best is not None:
                study.study.tell(number, state=TrialState.PRUNED)
            else:
                study.study.tell(number, state=TrialState.FAIL)

    def _candidates(self) -> Iterator[Proposal]:
        """Yield candidates for the next proposal in order of preference; endless."""
        while self.starts:
            start = self.starts.pop(0)
            if not self.samples_inlier:
                yield self._proposal(start.configuration.to_dict(), start.origin)
            elif start.inlier and start.inlier.name in self.space.search.inlier:
                params = _join(start.configuration.to_dict(), start.inlier)
                yield self._proposal(params, start.origin)
        if self.space.strategy.sampler == "grid":
            yield from self._grid()
        for attempt in range(self._attempts()):
            yield self._sample(attempt)
        yield from self._random()

    def _attempts(self) -> int:
        match self.space.strategy.sampler:
            case "qmc":  # The fixed sequence repeats all earlier proposals first.
                return len(self.seen) + ATTEMPTS
            case "gp":  # A further attempt costs seconds and returns the same maximum.
                return 2
        return ATTEMPTS

    def _sample(self, attempt: int) -> Proposal:
        study, strategy = self.sampling_study.study, self.space.strategy
        if strategy.sampler == "cmaes":
            # CMA-ES uses the trial number, which must not depend on rejected configurations.
            study = optuna.create_study(direction="maximize")
            study.add_trials(self.sampling_study.study.get_trials(deepcopy=False))
        if strategy.sampler != "qmc" or attempt == 0:
            key = f"{strategy.seed}/{self.next_number}/{attempt}"
            study.sampler = new_sampler(self.space, random.Random(key).getrandbits(32), study)
        # Dimensions with an effect in every configuration are sampled together.
        always = {
            name: axis.distribution
            for name, axis in self.axes.items()
            if not self.axes.keys() & set(dependences(name))
        }
        trial = study.ask(always)
        select(self.space, self.axes, lambda name, axis: _suggest(trial, name, axis))
        if self.samples_inlier:
            inlier = trial.suggest_categorical("inlier", list(self.space.search.inlier))
            if axis := self.p_axes.get(inlier):
                trial.suggest_float(f"p_{inlier}", axis.low, axis.high, log=axis.log)
        # Only a proposal may count as running; every sampler ignores FAIL.
        study.tell(trial, state=TrialState.FAIL)
        return self._proposal(trial.params)

    def _proposal(self, params: Mapping[str, Any], origin: str = "") -> Proposal:
        def nearest(name: str, axis: Dimension) -> Value:
            value = axis.nearest(params[name] if name in params else default_value(name))
            return int(value) if name == "batch_size" else value

        configuration = Configuration.from_dict(select(self.space, self.axes, nearest))
        return Proposal(self.next_number, configuration, self._inlier(params), origin=origin)

    def _inlier(self, params: Mapping[str, Any]) -> InlierSpec | None:
        name = params.get("inlier")
        if name is None:
            return None
        axis = self.p_axes.get(name)
        return InlierSpec(name, axis.nearest(params[f"p_{name}"]) if axis else None)

    def _grid(self) -> Iterator[Proposal]:
        """Yield all configurations of a finite space, shuffled by the seed."""
        specs: Sequence[InlierSpec | None] = (
            self.space.search.specs if self.samples_inlier else [None]
        )
        grid = list(itertools.product(combinations(self.space, self.axes), specs))
        random.Random(self.space.strategy.seed).shuffle(grid)
        for values, spec in grid:
            yield self._proposal(_join(values, spec))

    def _random(self) -> Iterator[Proposal]:
        """Yield random configurations, uniformly distributed."""
        rng = random.Random(f"{self.space.strategy.seed}/{self.next_number}/untried")
        while True:
            spec = rng.choice(self.space.search.specs) if self.samples_inlier else None
            params = select(self.space, self.axes, lambda _, axis: _draw(axis, rng))
            yield self._proposal(_join(params, spec))

    def _add(self, proposal: Proposal) -> None:
        trial = self._running_trial(proposal)
        self.open[proposal.number] = (self.sampling_study.add(trial), self.study.add(trial))

    def _running_trial(self, proposal: Proposal) -> FrozenTrial:
        params: dict[str, Any] = dict(proposal.configuration.to_dict())
        distributions = {name: self.axes[name].distribution for name in params}
        if (inlier := proposal.inlier) is not None:
            params["inlier"] = inlier.name
            distributions["inlier"] = CategoricalDistribution(list(self.space.search.inlier))
            if axis := self.p_axes.get(inlier.name):
                params[f"p_{inlier.name}"] = inlier.p
                distributions[f"p_{inlier.name}"] = axis.distribution
        return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)


def _join(params: Mapping[str, Any], spec: InlierSpec | None) -> dict[str, Any]:
    inlier: dict[str, Any] = {} if spec is None else {"inlier": spec.name, f"p_{spec.name}": spec.p}
    return {**params, **inlier}


def _suggest(trial: Trial, name: str, axis: Dimension) -> Value:
    if isinstance(axis, Choice):
        value = trial.suggest_categorical(name, list(axis.values))
        assert value is not None
        return value
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def _draw(axis: Dimension, rng: random.Random) -> Value:
    if axis.values is not None:
        return rng.choice(axis.values)
    assert isinstance(axis, Axis)
    if axis.log:
        return math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
    return rng.uniform(axis.low, axis.high)
