"""The private part of Optuna that is used, against the Optuna that is installed."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from raysearch.search import optuna_backend
from raysearch.search.dimensions import axes
from raysearch.search.optuna_backend import BEST, RECALL, new_sampler, new_study
from tests.records import make_space


def test_tpe_of_optuna_5_asks_for_trials_where_it_is_given_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An Optuna that asks elsewhere would see all trials: slower, so this test tells."""
    assert optuna.__version__.startswith("5.")
    given: list[int] = []

    class Counted(optuna_backend._Recalled):
        def _get_trials(self, *arguments: Any, **settings: Any) -> Any:
            trials = super()._get_trials(*arguments, **settings)
            given.append(len(trials))
            return trials

    monkeypatch.setattr(optuna_backend, "_Recalled", Counted)
    space = make_space(strategy={"sampler": "tpe"})
    found = {name: axis.distribution for name, axis in axes(space).items()}
    study = new_study(space)
    params = {"lr": 1e-3, "batch_size": 32, "lambda": 1.0}
    for number in range(RECALL + BEST + 20):
        ended = create_trial(
            state=TrialState.COMPLETE, value=number / 200, params=params, distributions=found
        )
        assert study.trial(study.add(ended)).number == number
    study.study.sampler = new_sampler(space, 0, study.study)
    study.study.ask(found)
    assert set(given) == {RECALL + BEST}


def test_optuna_is_as_talkative_afterwards_as_before() -> None:
    before = optuna.logging.get_verbosity()
    with optuna_backend.quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.WARNING
    assert optuna.logging.get_verbosity() == before
