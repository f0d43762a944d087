"""The configurations that compare, and their order."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.scoring.inlier import InlierSpec
from raysearch.study.ranking import ONE_SEED, Candidate, Ranking, caveats, rank
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from raysearch.study.winner import Winner, choose_winner
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult
from tests.records import complete, failed, row

SPECS = (("gmm", 1), ("lof", 8))
FINALISTS = Finalists(top=3, seeds=3)


def trial(number: int, *scores: float | None, of: int | None = None) -> Record:
    """Make a trial, or with `of` its rerun with another seed; without scores a failed candidate."""
    base = number if of is None else of
    proposal = Proposal(number, Configuration(1e-3 * (1 + base), 32, 1.0), rerun_of=of)
    if of is not None:
        proposal = replace(proposal, seed=number)
    return complete(proposal, *rows(scores)) if scores else failed(proposal)


def rows(scores: Sequence[float | None]) -> list[InlierResult]:
    return [row(*spec, score, "too few") for spec, score in zip(SPECS, scores, strict=False)]


def ranked(*records: Record) -> Ranking:
    ranking = rank(records)
    assert ranking is not None
    return ranking


def number_and_inlier(candidate: Candidate | None) -> tuple[int, str] | None:
    return None if candidate is None else (candidate.proposal.number, candidate.inlier.name)


def test_without_finalists_the_best_score_wins() -> None:
    ranking = ranked(trial(0, 0.7, 0.6), trial(1, 0.5, 0.8), trial(2), trial(3, 0.75, None))
    assert (number_and_inlier(ranking.winner), ranking.winner.inlier) == (
        (1, "lof"),
        InlierSpec("lof", 8),
    )
    assert (number_and_inlier(ranking.second), ranking.seeds) == ((3, "gmm"), 1)
    assert (ranking.winner.mean(), ranking.winner.std) == (0.8, None)


def test_of_equals_the_earliest_trial_and_its_first_row_win() -> None:
    records = [trial(4, 0.8), trial(2, 0.7, 0.8), trial(3, 0.8, 0.8)]
    for order in (records, records[::-1]):
        assert number_and_inlier(ranked(*order).winner) == (2, "lof")
        assert number_and_inlier(ranked(*order).second) == (3, "gmm")


def test_a_score_of_zero_is_a_score() -> None:
    assert ranked(trial(0, 0.0)).winner.mean() == 0.0


def test_a_seed_with_a_score_of_zero_is_the_worst() -> None:
    ranking = ranked(trial(0, 0.0), trial(3, 0.6, of=0), trial(4, 0.5, of=0))
    assert ranking.winner.best.record.proposal.number == 3


def test_two_seeds_have_a_standard_deviation() -> None:
    ranking = ranked(trial(0, 0.6), trial(3, 0.8, of=0))
    assert ranking.winner.mean() == pytest.approx(0.7)
    assert ranking.winner.std == pytest.approx(0.02**0.5)


def test_inlier_models_of_an_encoder_compare_by_its_seeds_and_not_by_luck_with_one() -> None:
    # Each failed with a further seed, so none has them all, and 0.9 is of a single seed.
    reruns = [trial(3, 0.72, None, of=0), trial(4, None, None, of=0)]
    ranking = ranked(trial(0, 0.7, 0.9), trial(1, 0.5), *reruns)
    assert number_and_inlier(ranking.winner) == (0, "gmm")
    assert ranking.winner.mean() == pytest.approx(0.71)


def test_trials_without_a_score_cannot_win() -> None:
    pruned = replace(trial(3, 0.9), state=State.PRUNED)
    assert rank([trial(0), trial(1, None, None), pruned]) is None
    assert rank([]) is None


def test_a_configuration_without_validation_labels_is_no_failure() -> None:
    trained = complete(Proposal(0, Configuration(1e-3, 32, 1.0)), row("gmm", 2, None))
    ranking = ranked(trained, failed(Proposal(1, Configuration(2e-3, 32, 1.0))))
    assert number_and_inlier(ranking.winner) == (0, "gmm")
    assert (ranking.second, ranking.winner.scores, ranking.winner.std) == (None, [], None)
    winner = choose_winner("valve", "data", ranking)
    assert (winner.val_score, winner.score) == (None, None)
    assert Winner.from_json(json.loads(json.dumps(winner.to_json()))) == winner


def test_luck_with_one_seed_does_not_win() -> None:
    ranking = ranked(
        *(trial(0, 0.9), trial(3, 0.5, of=0), trial(5, 0.4, of=0)),
        *(trial(1, 0.8), trial(4, 0.75, of=1), trial(6, 0.7, of=1)),
        trial(2, 0.79),
    )
    assert (number_and_inlier(ranking.winner), number_and_inlier(ranking.second)) == (
        (1, "gmm"),
        (0, "gmm"),
    )
    assert ranking.winner.mean() == pytest.approx(0.75)
    assert ranking.winner.std == pytest.approx(0.05)
    assert ranking.winner.best.record.proposal.number == 1
    assert {candidate.proposal.number for candidate in ranking.candidates} == {0, 1}
    assert caveats(ranking, [trial(0, 0.9), trial(1, 0.8)], FINALISTS) == []


def test_an_inlier_model_that_failed_with_one_seed_is_out() -> None:
    ranking = ranked(trial(0, 0.6, 0.9), trial(1, 0.5, None, of=0))
    assert [number_and_inlier(candidate) for candidate in ranking.candidates] == [(0, "gmm")]
    assert ranking.second is None


def test_a_finalist_that_failed_with_one_seed_is_out() -> None:
    records = [
        *(trial(0, 0.9), trial(3, of=0), trial(5, 0.9, of=0)),
        *(trial(1, 0.8), trial(4, 0.8, of=1), trial(6, 0.8, of=1)),
        trial(2, 0.7),
    ]
    ranking = ranked(*records)
    assert number_and_inlier(ranking.winner) == (1, "gmm")
    assert caveats(ranking, records, Finalists(top=2, seeds=3)) == [
        ONE_SEED,
        "the finalists were compared by 1 of 3 seeds",
        "not compared, for want of a seed: finalist 0",
    ]


def test_if_all_reruns_failed_the_best_score_wins() -> None:
    ranking = ranked(trial(0, 0.9), trial(1, 0.8), trial(2, of=0), trial(3, None, of=1))
    assert (
        number_and_inlier(ranking.winner),
        number_and_inlier(ranking.second),
        ranking.seeds,
    ) == ((0, "gmm"), (1, "gmm"), 1)
    assert len(ranking.winner.trainings) == 1


def test_a_budget_that_ends_the_finalists_leaves_what_compares() -> None:
    records = [
        *(trial(0, 0.9, 0.85), trial(3, 0.7, 0.6, of=0), trial(6, 0.1, 0.8, of=0)),
        *(trial(1, 0.8), trial(4, 0.75, of=1)),
        trial(2, 0.79),
    ]
    ranking = ranked(*records)
    # By two seeds trial 0 leads; by its third seed another of its inlier models is the best.
    assert ranking.seeds == 2
    assert (number_and_inlier(ranking.winner), number_and_inlier(ranking.second)) == (
        (0, "lof"),
        (1, "gmm"),
    )
    assert ranking.winner.mean() == pytest.approx(0.75)
    assert caveats(ranking, records, FINALISTS) == [
        "the finalists were compared by 2 of 3 seeds",
        "not compared, for want of a seed: finalist 2",
    ]


def test_a_budget_that_ends_the_search_is_a_caveat() -> None:
    records = [trial(0, 0.9), trial(1, 0.8)]
    assert caveats(ranked(*records), records, FINALISTS) == [
        ONE_SEED,
        "the finalists were compared by 1 of 3 seeds",
    ]
    assert caveats(ranked(*records), records, None) == [ONE_SEED]


def test_where_there_is_one_encoder_its_inlier_models_compare() -> None:
    records = [trial(0, 0.9, 0.8), trial(1, 0.5, 0.7, of=0)]
    ranking = ranked(*records)
    assert (
        number_and_inlier(ranking.winner),
        number_and_inlier(ranking.second),
        ranking.seeds,
    ) == ((0, "lof"), (0, "gmm"), 2)
    assert caveats(ranking, records, FINALISTS) == []


SCORE = st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.625, 0.75, 1.0])


@st.composite
def studies(draw: st.DrawFn) -> list[Record]:
    """Draw up to five trials, some with further seeds, some failed."""
    searched = draw(st.lists(st.lists(SCORE, max_size=2), max_size=5))
    records = [trial(number, *scores) for number, scores in enumerate(searched)]
    for _ in range(draw(st.integers(0, 6))):
        bases = [r.proposal.number for r in records if r.best and r.proposal.rerun_of is None]
        if bases:
            base = draw(st.sampled_from(bases))
            scores = draw(st.lists(SCORE, max_size=2))
            records.append(trial(len(records), *scores, of=base))
    return draw(st.permutations(records))


@given(studies())
def test_no_candidate_has_a_better_mean_than_the_winner(records: list[Record]) -> None:
    ranking = rank(records)
    if ranking is None:
        assert all(r.best is None for r in records if r.proposal.rerun_of is None)
        return
    means = [candidate.mean(ranking.seeds) for candidate in ranking.candidates]
    assert means == sorted(means, reverse=True)
    assert all(len(candidate.trainings) >= ranking.seeds for candidate in ranking.candidates)
    assert ranking.winner.configuration == ranking.candidates[0].configuration
    assert ranking.second is not ranking.winner
    if ranking.second and ranking.second.configuration != ranking.winner.configuration:
        assert ranking.second.mean(ranking.seeds) <= ranking.candidates[0].mean(ranking.seeds)
    for candidate in ranking.candidates:
        assert len({training.record.proposal.number for training in candidate.trainings}) == len(
            candidate.trainings
        )


@given(studies())
def test_the_order_of_records_does_not_matter(records: list[Record]) -> None:
    assert rank(records) == rank(sorted(records, key=lambda r: r.proposal.number))


@given(studies())
def test_without_further_seeds_the_ranking_is_that_of_all_scores(records: list[Record]) -> None:
    alone = [record for record in records if record.proposal.rerun_of is None]
    ranking = rank(alone)
    scores = [r.val_score for record in alone for r in record.rows if r.val_score is not None]
    ranked_scores = [candidate.mean() for candidate in ranking.candidates] if ranking else []
    assert ranked_scores == sorted(scores, reverse=True)
    if ranking:
        assert ranking.winner is ranking.candidates[0]
