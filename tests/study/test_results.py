"""Results of a study, read from its folder."""

from pathlib import Path

import numpy as np
import pytest

from raysearch.errors import UserError
from raysearch.storage import to_path
from raysearch.study.records import State
from raysearch.study.results import read_results
from tests import runs


def test_before_a_trial_has_ended_there_is_no_winner(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    results = read_results(study.path)
    assert (results.machine, results.records, results.proposed) == ("valve", (), 0)
    assert (results.winner, results.second, results.final_score) == (None, None, None)
    assert not results.is_current


def test_the_best_so_far_is_the_winner_until_one_is_frozen(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records())
    results = read_results(study.path)
    assert results.frozen is None
    best = results.winner
    assert best is not None
    runs.conclude(study)
    results = read_results(study.path)
    assert results.frozen == best
    assert results.is_current
    assert results.second is not None
    assert results.record(best.trial) == study.record(best.trial)
    assert results.record(999) is None


def test_further_seeds_and_failures_are_no_scored_trials_of_the_search(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.add(study, runs.records())
    results = read_results(study.path)
    assert (len(results.records), results.proposed) == (10, 10)
    assert len(results.searched) == 8
    assert len(results.scored) == 6
    assert {record.state for record in results.scored} == {State.COMPLETE}


def test_the_final_score_is_the_harmonic_mean_over_the_ids(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    runs.take_final_test(study, runs.final_scores())
    results = read_results(study.path)
    assert list(results.final.areas) == ["3", "4", "5"]
    values = np.array(list(results.final.areas.values()))
    assert results.final_score == pytest.approx(1 / np.mean(1 / values))
    assert len(results.scores) == 120
    assert [opening.clips for opening in results.ledger.openings] == [120]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        read_results(to_path(tmp_path))
