"""Samplers and journal of Optuna; private parts are tested against the installed version."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from raysearch.search import optuna_backend
from raysearch.search.dimensions import axes
from raysearch.search.optuna_backend import (
    TPE_BEST,
    TPE_LATEST,
    SingleWriterJournal,
    new_sampler,
    new_study,
)
from tests.records import make_space


def test_tpe_of_optuna_5_reads_the_truncated_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another version of Optuna may read all trials, which is slower."""
    assert optuna.__version__.startswith("5.")
    counts: list[int] = []

    class Counted(optuna_backend._TruncatedStudy):
        def _get_trials(self, *arguments: Any, **settings: Any) -> Any:
            trials = super()._get_trials(*arguments, **settings)
            counts.append(len(trials))
            return trials

    monkeypatch.setattr(optuna_backend, "_TruncatedStudy", Counted)
    space = make_space(strategy={"sampler": "tpe"})
    distributions = {name: axis.distribution for name, axis in axes(space).items()}
    study = new_study(space)
    params = {"lr": 1e-3, "batch_size": 32, "lambda": 1.0}
    for number in range(TPE_LATEST + TPE_BEST + 20):
        ended = create_trial(
            state=TrialState.COMPLETE,
            value=number / 200,
            params=params,
            distributions=distributions,
        )
        assert study.trial(study.add(ended)).number == number
    study.study.sampler = new_sampler(space, 0, study.study)
    study.study.ask(distributions)
    assert set(counts) == {TPE_LATEST + TPE_BEST}


def test_quiet_optuna_restores_the_log_level() -> None:
    before = optuna.logging.get_verbosity()
    with optuna_backend.quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.WARNING
    assert optuna.logging.get_verbosity() == before


# The journal: what Optuna reads is what was written.


def new_journal_study(path: Path) -> Study:
    storage = JournalStorage(SingleWriterJournal(path))
    return optuna.create_study(storage=storage, study_name="valve", direction="maximize")


def read_trials(path: Path) -> list[FrozenTrial]:
    """Read the trials as optuna-dashboard does."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="valve", storage=storage).get_trials()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def fill(study: Study) -> None:
    space = {"lr": FloatDistribution(1e-4, 1e-2, log=True)}
    for lr in (1e-3, 1 / 3000):
        study.add_trial(
            create_trial(state=TrialState.RUNNING, params={"lr": lr}, distributions=dict(space))
        )
    running = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[0]._trial_id)
    running.report(1 / 3, 10)
    study.tell(0, 0.1 + 0.2)
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params={"lr": 1e-2},
            distributions=dict(space),
            intermediate_values={4: 0.5},
            system_attrs={"completed_rung_0": 0.5},
        )
    )


def test_optuna_reads_the_study_from_the_journal(path: Path) -> None:
    study = new_journal_study(path)
    fill(study)
    trials = read_trials(path)
    assert trials == study.get_trials()
    assert [trial.state for trial in trials] == [
        *(TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED)
    ]
    assert trials[0].value == 0.1 + 0.2
    assert trials[0].intermediate_values == {10: 1 / 3}
    assert trials[2].system_attrs == {"completed_rung_0": 0.5}


def test_a_journal_can_be_read_while_a_study_writes_it(path: Path) -> None:
    study = new_journal_study(path)
    for number in range(3):
        study.add_trial(create_trial(state=TrialState.RUNNING))
        assert len(read_trials(path)) == number + 1


def test_an_existing_journal_is_replaced(path: Path) -> None:
    fill(new_journal_study(path))
    study = new_journal_study(path)
    assert read_trials(path) == study.get_trials() == []


def test_logs_are_dropped_after_reading(path: Path) -> None:
    storage = SingleWriterJournal(path)
    study = optuna.create_study(storage=JournalStorage(storage), study_name="valve")
    study.add_trials([create_trial(state=TrialState.RUNNING) for _ in range(5)])
    assert storage.unread == []
    assert storage.appended == len(path.read_text().splitlines()) == 6
