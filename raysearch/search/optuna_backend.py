"""Optuna's samplers and pruners, as a space asks for them."""

import heapq
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from raysearch.search.dimensions import axes
from raysearch.search.journal import OneWriterJournal
from raysearch.study.space import Space
from raysearch.study.strategy import REDUCTION

STARTUP = 5
"""TPE has three dimensions here, so it knows something sooner than Optuna's 10 trials assume."""

WARM = 10
"""Finished trials from which CMA-ES has a distribution to start from; up to there chance rules.

It begins anew at every proposal, from the best tenth of all results (Nomura et al. 2021), since
Optuna keeps a running one as a pickle.
"""


RECALL, BEST = 128, 25
"""TPE looks back on so many trials and on the best before them, which are all that it counts as
good (its default gamma). With all of them the time of a proposal would grow with the study."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna tell warnings only in this block: it has a line for each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class StoredStudy:
    """A study with its storage, which tells the ID of a trial that is added."""

    study: Study
    storage: BaseStorage

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial and return Optuna's ID of it."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.create_new_trial(study_id, trial)

    def trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial by Optuna's ID."""
        return self.storage.get_trial(trial_id)

    def note_rung(self, trial_id: int) -> None:
        """Have the pruner note that a trial came to the rung that it reported last.

        It does not compare the trial, which would take longer the more trials there are.
        """
        self.study.pruner.prune(cast(Study, _Alone(self.study)), self.trial(trial_id))


class _Seen:
    """A study of which somebody shall not see all trials."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class _Recalled(_Seen):
    """A study as TPE sees it: its latest trials that ended, and the best of those before.

    TPE asks for trials by a private method, and has no setting for fewer. Tried with Optuna 5.0.
    """

    def _get_trials(self, *arguments: Any, **settings: Any) -> list[FrozenTrial]:
        if "_kept" not in vars(self):
            trials = self._study._get_trials(*arguments, **settings)
            early = [trial for trial in trials[:-RECALL] if trial.state is TrialState.COMPLETE]
            best = heapq.nlargest(BEST, early, key=lambda trial: trial.values[0])
            self._kept = sorted(best, key=lambda trial: trial.number) + trials[-RECALL:]
        return self._kept


class _Alone(_Seen):
    """A study as a pruner sees it that shall note the rung of a trial and rank it with nobody."""

    def get_trials(self, *_: Any, **__: Any) -> list[FrozenTrial]:
        return []


class _KnownSpaceTPE(TPESampler):
    """TPE whose proposals cost the same however many trials there are.

    It need not look through all of them for the parameters that they have in common, which Optuna
    remembers in a sampler, while ours is made anew for each proposal.
    """

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(**settings)
        found = {name: axis.distribution for name, axis in sorted(axes(space).items())}
        self.known = {name: one for name, one in found.items() if not one.single()}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What is sampled together."""
        return self.known

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Samples all of it."""
        return super().sample_relative(cast(Study, _Recalled(study)), trial, search_space)


def new_study(space: Space, journal: Path | None = None) -> StoredStudy:
    """Make a study that prunes as the space asks.

    Args:
        space: that is searched.
        journal: file that the study is written to, anew; None keeps it in memory.
    """
    storage: BaseStorage = InMemoryStorage()
    name = "raysearch"
    if journal is not None:
        storage, name = JournalStorage(OneWriterJournal(journal)), journal.parent.name
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", pruner=_pruner(space)
    )
    return StoredStudy(study, storage)


def new_sampler(space: Space, seed: int, study: Study) -> BaseSampler:
    """The sampler that a space asks for.

    Args:
        space: that is searched.
        seed: of the next proposal.
        study: that it will be proposed for.
    """
    chance = RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match space.strategy.sampler:
            case "tpe":
                settings: dict[str, Any] = {"seed": seed, "n_startup_trials": STARTUP}
                if space.strategy.inlier == "sample":
                    return TPESampler(group=True, **settings)
                return _KnownSpaceTPE(space, **settings)
            case "gp":
                return GPSampler(
                    seed=seed, independent_sampler=chance, warn_independent_sampling=False
                )
            case "qmc":
                return QMCSampler(
                    scramble=True,
                    seed=space.strategy.seed,
                    independent_sampler=chance,
                    warn_independent_sampling=False,
                )
            case "cmaes":
                done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                if len(done) >= WARM:
                    return CmaEsSampler(
                        seed=seed,
                        independent_sampler=chance,
                        source_trials=done,
                        warn_independent_sampling=False,
                    )
    return chance


def _pruner(space: Space) -> BasePruner:
    match space.scheduler:
        case "asha":
            return SuccessiveHalvingPruner(space.grace, REDUCTION)
        case "hyperband":
            return HyperbandPruner(space.grace, space.fixed.epochs, REDUCTION)
        case "median":
            return MedianPruner()
    return NopPruner()
