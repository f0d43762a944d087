"""Optuna's part: proposals out, results in, and a journal of the study for dashboards.

The n-th proposal is a function of the seed, n and the results so far: the sampler is made anew
for each, so an interrupted search goes on as if it had never stopped.
"""

import math
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from raysearch.search.space import Space, Strategy
from raysearch.search.study import Proposal, Record, State
from raysearch.train import Epoch

ATTEMPTS = 16
"""How often the sampler may propose what was tried before a random configuration is taken."""


class Sampler:
    """Proposes configurations that were not tried before."""

    def __init__(
        self,
        space: Space,
        journal: Path,
        proposals: Sequence[Proposal] = (),
        records: Sequence[Record] = (),
    ) -> None:
        """Rebuilds the study.

        Args:
            space: what to search.
            journal: file that mirrors the study for optuna-dashboard; written anew.
            proposals: everything that was given out.
            records: everything that ended.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.sampled = space.strategy.inlier == "sample"
        self.study = optuna.create_study(direction="maximize", pruner=_pruner(space.strategy))
        journal.unlink(missing_ok=True)
        self.mirror = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=journal.parent.name,
            direction="maximize",
        )
        self.seen = {proposal.key for proposal in proposals}
        self.next_number = 1 + max((p.number for p in proposals), default=-1)
        self.open: dict[int, tuple[int, int]] = {}
        ended = {record.proposal.number: record for record in records}
        for proposal in proposals:
            self._add(proposal)
            if proposal.number in ended:
                record = ended[proposal.number]
                # Again through the pruner, which thereby knows the rungs that were reached.
                for epoch in record.history:
                    self.report(proposal.number, epoch)
                self.tell(record)

    def ask(self) -> Proposal | None:
        """Proposes the next trial; None when everything in the space was tried."""
        if len(self.seen) >= self._size():
            return None
        for attempt in range(ATTEMPTS):
            proposal = self._ask(attempt)
            if proposal.key not in self.seen:
                break
        else:
            proposal = self._untried()
        self.seen.add(proposal.key)
        self._add(proposal)
        self.next_number += 1
        return proposal

    def report(self, number: int, epoch: Epoch) -> bool:
        """Takes an epoch of a trial.

        Returns:
            Whether the trial should be given up.
        """
        place, mirrored = self.open[number]
        trial = Trial(self.study, self.study.get_trials(deepcopy=False)[place]._trial_id)
        known = trial.storage.get_trial(trial._trial_id).intermediate_values
        if epoch.epoch in known:  # A trial that lost its process repeats an epoch.
            return False
        # Without λ, so that trials compare; negative, since the study maximises.
        trial.report(-(epoch.val_machine_loss + epoch.val_product_loss), epoch.epoch)
        frozen = self.mirror.get_trials(deepcopy=False)[mirrored]
        Trial(self.mirror, frozen._trial_id).report(epoch.val_loss, epoch.epoch)
        return trial.should_prune()

    def tell(self, record: Record) -> None:
        """Takes the result of a trial; one that has ended already is left alone."""
        places = self.open.pop(record.proposal.number, None)
        if places is None:
            return
        best = record.best if record.state is State.COMPLETE else None
        for study, place in zip((self.study, self.mirror), places, strict=True):
            if best is not None:
                study.tell(place, best.val_score)
            elif record.state is State.PRUNED:
                study.tell(place, state=TrialState.PRUNED)
            else:
                study.tell(place, state=TrialState.FAIL)

    def _ask(self, attempt: int) -> Proposal:
        self.study.sampler = _sampler(
            self.space.strategy.sampler,
            random.Random(f"{self.space.strategy.seed}/{self.next_number}/{attempt}").getrandbits(
                32
            ),
            conditional=self.sampled,
        )
        trial = self.study.ask(self.space.distributions())
        if self.sampled:
            inliers = self.space.search.inlier
            name = trial.suggest_categorical("inlier", list(inliers))
            trial.suggest_categorical(f"p_{name}", list(inliers[name]))
        # Only what is given out may count as running; FAIL has no weight with any sampler.
        self.study.tell(trial, state=TrialState.FAIL)
        return self._proposal(trial.params)

    def _proposal(self, params: dict[str, Any]) -> Proposal:
        size = params["batch_size"] if "batch_size" in params else 2 * params["half_batch"]
        inlier = params.get("inlier", "")
        return Proposal(
            self.next_number,
            float(params["lr"]),
            int(size),
            float(params["lambda"]),
            inlier,
            params.get(f"p_{inlier}"),
        )

    def _untried(self) -> Proposal:
        """A configuration that was not tried, all being equally likely."""
        rng = random.Random(f"{self.space.strategy.seed}/{self.next_number}/untried")
        while True:
            params: dict[str, Any] = {}
            for name, distribution in self.space.distributions().items():
                choices = _choices(distribution)
                assert choices is not None, distribution
                params[name] = rng.choice(choices)
            if self.sampled:
                spec = rng.choice(self.space.search.specs)
                params |= {"inlier": spec.name, f"p_{spec.name}": spec.p}
            proposal = self._proposal(params)
            if proposal.key not in self.seen:
                return proposal

    def _size(self) -> float:
        """How many configurations the space has."""
        all_choices = map(_choices, self.space.distributions().values())
        sizes = [math.inf if choices is None else len(choices) for choices in all_choices]
        return math.prod(sizes) * (len(self.space.search.specs) if self.sampled else 1)

    def _add(self, proposal: Proposal) -> None:
        frozen = _running(proposal, self.space, self.sampled)
        places = []
        for study in (self.study, self.mirror):
            study.add_trial(frozen)
            places.append(len(study.get_trials(deepcopy=False)) - 1)
        self.open[proposal.number] = (places[0], places[1])


def _choices(distribution: BaseDistribution) -> Sequence[Any] | None:
    """What can be drawn; None where it cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return None


def _sampler(name: str, seed: int, *, conditional: bool) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, group=conditional)


def _pruner(strategy: Strategy) -> BasePruner:
    if strategy.scheduler == "none":
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=strategy.grace, reduction_factor=4)


def _running(proposal: Proposal, space: Space, sampled: bool) -> FrozenTrial:
    distributions = dict(space.distributions())
    params: dict[str, Any] = {"lr": proposal.lr, "lambda": proposal.lam}
    if "half_batch" in distributions:
        params["half_batch"] = proposal.batch_size // 2
    else:
        params["batch_size"] = proposal.batch_size
    if sampled:
        inliers = space.inlier_distributions()
        params |= {"inlier": proposal.inlier, f"p_{proposal.inlier}": proposal.p}
        distributions |= {name: inliers[name] for name in ("inlier", f"p_{proposal.inlier}")}
    return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
