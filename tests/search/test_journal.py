"""A journal with one writer: what Optuna reads in it is what was written."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from raysearch.search.journal import OneWriterJournal


def created(path: Path) -> Study:
    storage = JournalStorage(OneWriterJournal(path))
    return optuna.create_study(storage=storage, study_name="valve", direction="maximize")


def read(path: Path) -> list[FrozenTrial]:
    """As optuna-dashboard reads it."""
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
    given = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[0]._trial_id)
    given.report(1 / 3, 10)
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


def test_optuna_reads_in_the_file_what_the_study_holds(path: Path) -> None:
    study = created(path)
    fill(study)
    here, there = study.get_trials(), read(path)
    assert there == here
    assert [trial.state for trial in there] == [
        *(TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED)
    ]
    assert there[0].value == 0.1 + 0.2
    assert there[0].intermediate_values == {10: 1 / 3}
    assert there[2].system_attrs == {"completed_rung_0": 0.5}


def test_it_is_read_while_it_is_written(path: Path) -> None:
    study = created(path)
    for number in range(3):
        study.add_trial(create_trial(state=TrialState.RUNNING))
        assert len(read(path)) == number + 1


def test_a_journal_that_was_there_is_replaced(path: Path) -> None:
    fill(created(path))
    study = created(path)
    assert read(path) == study.get_trials() == []


def test_what_was_read_is_not_kept(path: Path) -> None:
    storage = OneWriterJournal(path)
    study = optuna.create_study(storage=JournalStorage(storage), study_name="valve")
    study.add_trials([create_trial(state=TrialState.RUNNING) for _ in range(5)])
    assert storage.unread == []
    assert storage.appended == len(path.read_text().splitlines()) == 6
