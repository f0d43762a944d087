"""Optuna's part: proposals out, results in, and a journal of the study for dashboards.

The n-th proposal is a function of the seed, n and the results so far: the sampler is made anew
for each, so an interrupted search goes on as if it had never stopped.
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

from raysearch.config import Configuration
from raysearch.scoring.spec import InlierSpec
from raysearch.search.dimensions import Axis, axes, is_exhausted, p_axes
from raysearch.search.optuna_backend import new_sampler, new_study
from raysearch.search.warm_start import WarmStart
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.training.outcome import Epoch

ATTEMPTS = 16
"""How often the sampler may propose what was tried before a random configuration is taken."""


class Sampler:
    """Proposes configurations that were not tried before."""

    def __init__(
        self,
        space: Space,
        journal: Path | None,
        proposals: Sequence[Proposal] = (),
        records: Sequence[Record] = (),
    ) -> None:
        """Rebuilds the study.

        Args:
            space: what to search.
            journal: file that mirrors the study for optuna-dashboard, written anew; None for none.
            proposals: everything that was given out.
            records: everything that ended.
        """
        self.space, self.axes, self.p_axes = space, axes(space), p_axes(space)
        self.rungs = space.rungs
        self.sampled = space.strategy.inlier == "sample"
        # What was only asked stays in a study, so there is another of what was given out.
        self.asked = new_study(space)
        self.study = new_study(space, journal)
        self.starts: list[WarmStart] = []
        self.seen = {proposal.key for proposal in proposals}
        self.next_number = 1 + max((p.number for p in proposals), default=-1)
        self.open: dict[int, tuple[int, int]] = {}
        """Number of a proposal -> Optuna's IDs of the trial in `asked` and in `study`."""
        ended = {record.proposal.number: record for record in records}
        for proposal in proposals:
            self._add(proposal)
            if proposal.number in ended:
                record = ended[proposal.number]
                for epoch in record.history:
                    if self._report(proposal.number, epoch):
                        self.study.note_rung(self.open[proposal.number][1])
                self.tell(record)

    def enqueue(self, starts: Sequence[WarmStart]) -> None:
        """Takes configurations that are proposed first, moved to the nearest of the space."""
        self.starts += starts

    def ask(self, number: int | None = None) -> Proposal | None:
        """Proposes the next trial; None when everything in the space was tried.

        Args:
            number: of the trial; None is the next.
        """
        if number is not None:
            self.next_number = number
        if self.exhausted:
            return None
        proposal = next(p for p in self._ideas() if p.key not in self.seen)
        self.seen.add(proposal.key)
        self._add(proposal)
        self.next_number += 1
        return proposal

    @property
    def exhausted(self) -> bool:
        """Whether everything in the space was tried."""
        return is_exhausted(self.space, self.seen)

    def report(self, number: int, epoch: Epoch) -> bool:
        """Takes an epoch of a trial.

        Returns:
            Whether the trial should be given up.
        """
        if not self._report(number, epoch):
            return False
        return Trial(self.study.study, self.open[number][1]).should_prune()

    def _report(self, number: int, epoch: Epoch) -> bool:
        """Whether the epoch is a rung that the trial had not come to before."""
        if epoch.epoch not in self.rungs or (value := self._value(epoch)) is None:
            return False
        for study, trial_id in zip((self.asked, self.study), self.open[number], strict=True):
            # A trial that lost its process repeats an epoch.
            if epoch.epoch in study.trial(trial_id).intermediate_values:
                return False
            Trial(study.study, trial_id).report(value, epoch.epoch)
        return True

    def _value(self, epoch: Epoch) -> float | None:
        """What rungs compare; the study maximises it."""
        if self.space.strategy.metric == "score":
            return epoch.val_score
        # Without λ, so that trials compare.
        return -(epoch.val_machine_loss + epoch.val_product_loss)

    def tell(self, record: Record) -> None:
        """Takes the result of a trial; one that has ended already is left alone."""
        trial_ids = self.open.pop(record.proposal.number, None)
        if trial_ids is None:
            return
        best = record.best if record.state is State.COMPLETE else None
        for study, trial_id in zip((self.asked, self.study), trial_ids, strict=True):
            number = study.trial(trial_id).number
            if best is not None:
                study.study.tell(number, best.val_score)
            elif record.state is State.PRUNED:
                study.study.tell(number, state=TrialState.PRUNED)
            else:
                study.study.tell(number, state=TrialState.FAIL)

    def _ideas(self) -> Iterator[Proposal]:
        """What could be tried next, the best idea first; endless."""
        while self.starts:
            start = self.starts.pop(0)
            if not self.sampled:
                yield self._proposal(start.configuration.to_dict(), start.origin)
            elif start.inlier and start.inlier.name in self.space.search.inlier:
                yield self._of(start.configuration.to_dict(), start.inlier, start.origin)
        if self.space.strategy.sampler == "grid":
            yield from self._grid()
        for attempt in range(self._attempts()):
            yield self._optunas(attempt)
        yield from self._random()

    def _attempts(self) -> int:
        match self.space.strategy.sampler:
            case "qmc":  # Its sequence, always the same, runs through all that was tried first.
                return len(self.seen) + ATTEMPTS
            case "gp":  # It finds the same maximum again, in seconds rather than milliseconds.
                return 2
        return ATTEMPTS

    def _optunas(self, attempt: int) -> Proposal:
        study, strategy = self.asked.study, self.space.strategy
        if strategy.sampler == "cmaes":
            # It takes the number of the trial, which must not depend on what was only asked.
            study = optuna.create_study(direction="maximize")
            study.add_trials(self.asked.study.get_trials(deepcopy=False))
        if strategy.sampler != "qmc" or attempt == 0:
            key = f"{strategy.seed}/{self.next_number}/{attempt}"
            study.sampler = new_sampler(self.space, random.Random(key).getrandbits(32), study)
        trial = study.ask({name: axis.distribution for name, axis in self.axes.items()})
        if self.sampled:
            inlier = trial.suggest_categorical("inlier", list(self.space.search.inlier))
            if axis := self.p_axes.get(inlier):
                trial.suggest_float(f"p_{inlier}", axis.low, axis.high, log=axis.log)
        # Only what is given out may count as running; FAIL has no weight with any sampler.
        study.tell(trial, state=TrialState.FAIL)
        return self._proposal(trial.params)

    def _proposal(self, params: Mapping[str, Any], origin: str = "") -> Proposal:
        near = {name: axis.nearest(params[name]) for name, axis in self.axes.items()}
        configuration = Configuration.from_dict(near | {"batch_size": int(near["batch_size"])})
        return Proposal(self.next_number, configuration, self._inlier(params), origin=origin)

    def _inlier(self, params: Mapping[str, Any]) -> InlierSpec | None:
        name = params.get("inlier")
        if name is None:
            return None
        axis = self.p_axes.get(name)
        return InlierSpec(name, axis.nearest(params[f"p_{name}"]) if axis else None)

    def _grid(self) -> Iterator[Proposal]:
        """All of a finite space, in an order that follows from the seed."""
        keys = list(self.axes)
        choices = [axis.values or () for axis in self.axes.values()]
        specs: Sequence[InlierSpec | None] = self.space.search.specs if self.sampled else [None]
        found = list(itertools.product(itertools.product(*choices), specs))
        random.Random(self.space.strategy.seed).shuffle(found)
        for values, spec in found:
            yield self._of(dict(zip(keys, values, strict=True)), spec)

    def _random(self) -> Iterator[Proposal]:
        """Anything, all being equally likely."""
        rng = random.Random(f"{self.space.strategy.seed}/{self.next_number}/untried")
        while True:
            spec = rng.choice(self.space.search.specs) if self.sampled else None
            yield self._of({name: _draw(axis, rng) for name, axis in self.axes.items()}, spec)

    def _of(self, params: Mapping[str, Any], spec: InlierSpec | None, origin: str = "") -> Proposal:
        own = {} if spec is None else {"inlier": spec.name, f"p_{spec.name}": spec.p}
        return self._proposal({**params, **own}, origin)

    def _add(self, proposal: Proposal) -> None:
        trial = self._running(proposal)
        self.open[proposal.number] = (self.asked.add(trial), self.study.add(trial))

    def _running(self, proposal: Proposal) -> FrozenTrial:
        params: dict[str, Any] = proposal.configuration.to_dict()
        distributions = {name: axis.distribution for name, axis in self.axes.items()}
        if (inlier := proposal.inlier) is not None:
            params["inlier"] = inlier.name
            distributions["inlier"] = CategoricalDistribution(list(self.space.search.inlier))
            if axis := self.p_axes.get(inlier.name):
                params[f"p_{inlier.name}"] = inlier.p
                distributions[f"p_{inlier.name}"] = axis.distribution
        return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)


def _draw(axis: Axis, rng: random.Random) -> float:
    if axis.values is not None:
        return rng.choice(axis.values)
    if axis.log:
        return math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
    return rng.uniform(axis.low, axis.high)
