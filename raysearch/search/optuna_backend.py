"""Optuna's samplers, pruners and storages, configured by a space."""

import heapq
import json
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
from optuna.storages.journal import BaseJournalBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from raysearch.search.dimensions import axes, is_conditional
from raysearch.study.space import Space
from raysearch.study.strategy import REDUCTION

TPE_STARTUP = 5
"""Finished trials before TPE samples; fewer than Optuna's 10, as a space has 3 dimensions."""

CMAES_STARTUP = 10
"""Completed trials before CMA-ES samples; up to there configurations are random.

CMA-ES is restarted for every proposal from the best tenth of all results (Nomura et al. 2021),
since Optuna stores a running optimiser as a pickle.
"""


TPE_LATEST, TPE_BEST = 128, 25
"""Numbers of latest trials, and of best trials before these, that TPE samples from.

The best are as many as TPE counts as good (its default gamma). With all trials the time of a
proposal would grow with the study.
"""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Limit Optuna's log to warnings in this block: it logs a line per trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class StoredStudy:
    """A study with its storage, which assigns the IDs of trials."""

    study: Study
    storage: BaseStorage

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial and return its Optuna ID."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.create_new_trial(study_id, trial)

    def trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial by its Optuna ID."""
        return self.storage.get_trial(trial_id)

    def record_rung(self, trial_id: int) -> None:
        """Record in the pruner the rung that a trial reported last.

        The trial is not ranked: ranking takes time that grows with the number of trials.
        """
        self.study.pruner.prune(cast(Study, _EmptyStudy(self.study)), self.trial(trial_id))


class _StudyProxy:
    """A study that hides some of its trials."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class _TruncatedStudy(_StudyProxy):
    """Study proxy for TPE: the latest trials, and the best finished ones before.

    TPE requests trials by a private method, and has no setting for fewer. Tested with Optuna 5.0.
    """

    def _get_trials(self, *arguments: Any, **settings: Any) -> list[FrozenTrial]:
        if "_visible" not in vars(self):
            trials = self._study._get_trials(*arguments, **settings)
            early = [trial for trial in trials[:-TPE_LATEST] if trial.state is TrialState.COMPLETE]
            best = heapq.nlargest(TPE_BEST, early, key=lambda trial: trial.values[0])
            self._visible = sorted(best, key=lambda trial: trial.number) + trials[-TPE_LATEST:]
        return self._visible


class _EmptyStudy(_StudyProxy):
    """Study proxy without other trials: the pruner records the rung without ranking."""

    def get_trials(self, *_: Any, **__: Any) -> list[FrozenTrial]:
        return []


class _KnownSpaceTPE(TPESampler):
    """TPE with constant cost per proposal, independent of the number of trials.

    The search space is passed in. Optuna infers it from all trials and caches it in the sampler,
    but here each proposal has a new sampler.
    """

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(**settings)
        ordered = {name: axis.distribution for name, axis in sorted(axes(space).items())}
        self.distributions = {
            name: distribution
            for name, distribution in ordered.items()
            if not distribution.single()
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distributions that are sampled jointly."""
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample all dimensions from the truncated study."""
        return super().sample_relative(cast(Study, _TruncatedStudy(study)), trial, search_space)


class SingleWriterJournal(BaseJournalBackend):
    """A journal file that a single process writes and `JournalFileBackend` reads.

    Optuna's own backend locks, syncs and rereads at every step, for processes that share a study.
    Here one process writes, and a lost journal is rebuilt from the records.
    """

    def __init__(self, path: Path) -> None:
        """Create an empty journal, replacing an existing file."""
        self.path = path
        self.path.write_bytes(b"")
        self.appended = 0
        self.unread: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the logs appended since the last call."""
        logs, self.unread = self.unread, []
        assert log_number_from == self.appended - len(logs), "a journal has one reader"
        return logs

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs to the file."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with self.path.open("ab") as file:
            file.write(("\n".join(lines) + "\n").encode())
        # As read from the file: keys become strings, enumerations numbers.
        self.unread += [json.loads(line) for line in lines]
        self.appended += len(lines)


def new_study(space: Space, journal: Path | None = None) -> StoredStudy:
    """Create a study with the pruner of the space.

    Args:
        space: search space.
        journal: file of the study, replaced if it exists; None keeps the study in memory.
    """
    storage: BaseStorage = InMemoryStorage()
    name = "raysearch"
    if journal is not None:
        storage, name = JournalStorage(SingleWriterJournal(journal)), journal.parent.name
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", pruner=_pruner(space)
    )
    return StoredStudy(study, storage)


def new_sampler(space: Space, seed: int, study: Study) -> BaseSampler:
    """Create the sampler of a space.

    Args:
        space: search space.
        seed: of the next proposal.
        study: results so far.
    """
    random_sampler = RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match space.strategy.sampler:
            case "tpe":
                settings: dict[str, Any] = {"seed": seed, "n_startup_trials": TPE_STARTUP}
                if space.strategy.inlier == "sample" or is_conditional(space):
                    return TPESampler(group=True, **settings)
                return _KnownSpaceTPE(space, **settings)
            case "gp":
                return GPSampler(
                    seed=seed,
                    independent_sampler=random_sampler,
                    warn_independent_sampling=False,
                )
            case "qmc":
                return QMCSampler(
                    scramble=True,
                    seed=space.strategy.seed,
                    independent_sampler=random_sampler,
                    warn_independent_sampling=False,
                )
            case "cmaes":
                completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                if len(completed) >= CMAES_STARTUP:
                    return CmaEsSampler(
                        seed=seed,
                        independent_sampler=random_sampler,
                        source_trials=completed,
                        warn_independent_sampling=False,
                    )
    return random_sampler


def _pruner(space: Space) -> BasePruner:
    match space.scheduler:
        case "asha":
            return SuccessiveHalvingPruner(space.grace, REDUCTION)
        case "hyperband":
            return HyperbandPruner(space.grace, space.fixed.epochs, REDUCTION)
        case "median":
            return MedianPruner()
    return NopPruner()
