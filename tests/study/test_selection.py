"""The score without the optimism of the selection."""

from statistics import fmean

import numpy as np
import pytest
from interval_coverage import BASE, distances, null_search, true_scores

from raysearch.study.ranking import Candidate, Training
from raysearch.study.records import Proposal
from raysearch.study.selection import unselected_score
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult
from tests.records import complete


def candidate(number: int, *seeds: dict[str, float]) -> Candidate:
    """Make a configuration from AUCs by ID, which its pAUCs equal, of each seed."""
    trainings = []
    for seed, areas in enumerate(seeds):
        row = InlierResult("gmm", 1, 0.5, areas, areas)
        proposal = Proposal(number, Configuration(1e-3 + number, 16, 1.0), seed=seed)
        trainings.append(Training(complete(proposal, row), row))
    return Candidate(tuple(trainings), sound=True)


def test_each_id_is_scored_by_the_choice_of_the_others() -> None:
    first, second = candidate(0, {"0": 0.9, "1": 0.5}), candidate(1, {"0": 0.6, "1": 0.8})
    # ID 1 chooses the second, which has 0.6 on ID 0; ID 0 chooses the first, 0.5 on ID 1.
    assert unselected_score([first, second]) == pytest.approx(2 / (1 / 0.6 + 1 / 0.5))


def test_seeds_that_did_not_choose_score_where_there_are_some() -> None:
    lucky = candidate(0, {"0": 0.9, "1": 0.9}, {"0": 0.6, "1": 0.7}, {"0": 0.8, "1": 0.7})
    assert unselected_score([lucky, candidate(1, {"0": 0.5, "1": 0.5})]) == pytest.approx(0.7)


def test_configurations_that_are_best_alike_count_by_their_mean() -> None:
    alike = [candidate(n, {"0": 1.0, "1": auc}) for n, auc in enumerate((0.5, 0.7))]
    worse = candidate(2, {"0": 0.6, "1": 0.6})
    # ID 1 chooses the second, which has 1.0 on ID 0; ID 0 cannot choose between the first two.
    estimate = unselected_score([*alike, worse])
    assert estimate == pytest.approx(2 / (1 / 1.0 + 1 / 0.6))
    assert unselected_score([worse, *reversed(alike)]) == estimate


def test_nothing_is_chosen_from_one_configuration_or_by_one_id() -> None:
    assert unselected_score([]) is None
    assert unselected_score([candidate(0, {"0": 0.9, "1": 0.5})]) is None
    assert unselected_score([candidate(0, {"0": 0.9}), candidate(1, {"0": 0.5})]) is None
    other = [candidate(0, {"0": 0.9, "1": 0.5}), candidate(1, {"0": 0.5})]
    assert unselected_score(other) is None


@pytest.mark.parametrize("further", [0, 2])
def test_the_best_of_equal_configurations_is_not_better(further: int) -> None:
    generator = np.random.default_rng(1)
    true = float(true_scores(distances(BASE)))
    searches = [null_search(20, further, 0.0, generator) for _ in range(12)]
    best = fmean(max(c.mean(1) for c in search) for search in searches)
    estimates = [unselected_score(search) or 0.0 for search in searches]
    assert best > true + 0.05
    # Areas of 20 clips are biased by 0.01 themselves.
    error = float(np.std(estimates)) / np.sqrt(len(estimates))
    assert abs(fmean(estimates) - true - 0.008) < 3 * error
