"""Finalists and their further seeds."""

from collections import defaultdict
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import PROMOTED, best_trials, promotions, reruns
from raysearch.study.ranking import rank
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from raysearch.training.configuration import Configuration
from tests.command import Study, table
from tests.records import complete, failed, row
from tests.search.queues import epoch

SEED = 5


def study(scores: list[float | None]) -> list[Record]:
    """Make the trials of a search; None is a failed trial."""
    proposals = [
        Proposal(n, Configuration(1e-3 * (n + 1), 32, 1.0), origin="paper")
        for n in range(len(scores))
    ]
    return [
        failed(proposal) if score is None else complete(proposal, row("gmm", 1, score))
        for proposal, score in zip(proposals, scores, strict=True)
    ]


SCORES = st.lists(st.none() | st.sampled_from([0.0, 0.5, 0.6, 0.7, 0.9]), max_size=8)


@given(SCORES, st.integers(1, 4), st.integers(2, 4))
def test_the_best_are_trained_with_every_seed_once(
    scores: list[float | None], top: int, seeds: int
) -> None:
    records = study(scores)
    proposals = [record.proposal for record in records]
    missing = reruns(records, proposals, Finalists(top=top, seeds=seeds), SEED)
    ended = [number for number, score in enumerate(scores) if score is not None]
    best = sorted(ended, key=lambda number: (-(scores[number] or 0.0), number))[:top]
    assert [(p.rerun_of, p.seed) for p in missing] == [
        (number, SEED + k) for k in range(1, seeds) for number in best
    ]
    assert [p.number for p in missing] == list(range(len(scores), len(scores) + len(missing)))
    for proposal in missing:
        assert proposal.rerun_of is not None
        assert proposal.key == proposals[proposal.rerun_of].key
        assert proposal.origin == ""


def test_further_seeds_of_the_largest_seed_begin_at_0() -> None:
    records = study([0.5])
    proposals = [record.proposal for record in records]
    missing = reruns(records, proposals, Finalists(top=1, seeds=4), 2**32 - 2)
    assert [proposal.seed for proposal in missing] == [2**32 - 1, 0, 1]


@given(SCORES, st.data())
def test_no_rerun_is_proposed_twice(scores: list[float | None], data: st.DataObject) -> None:
    """Independent of where the run stopped and of the results of the reruns."""
    records, finalists = study(scores), Finalists(top=2, seeds=3)
    proposals = [record.proposal for record in records]
    everything = reruns(records, proposals, finalists, SEED)
    proposed = everything[: data.draw(st.integers(0, len(everything)))]
    ended = [
        failed(p) if data.draw(st.booleans()) else complete(p, row("gmm", 1, 1.0)) for p in proposed
    ]
    assert (
        reruns([*records, *ended], proposals + proposed, finalists, SEED)
        == (everything[len(proposed) :])
    )


@given(SCORES, st.data(), st.integers(1, 4))
def test_a_certain_finalist_stays_one_with_any_result_of_running_trials(
    scores: list[float | None], data: st.DataObject, top: int
) -> None:
    records, finalists = study(scores), Finalists(top=top, seeds=3)
    proposals = [record.proposal for record in records]
    running = data.draw(st.sets(st.sampled_from(range(len(scores))))) if scores else set()
    ended = [record for record in records if record.proposal.number not in running]
    certain = reruns(ended, proposals, finalists, SEED, running=len(running))
    whole = reruns(records, proposals, finalists, SEED)
    assert {(p.rerun_of, p.seed) for p in certain} <= {(p.rerun_of, p.seed) for p in whole}
    assert len(certain) == len(whole) if not running else {p.seed for p in certain} <= {SEED + 1}


def test_pruned_trials_and_trials_without_a_score_are_no_finalists() -> None:
    records = [
        complete(Proposal(0, Configuration(1e-3, 32, 1.0)), row("gmm", 1, 0.9), state=State.PRUNED),
        complete(Proposal(1, Configuration(2e-3, 32, 1.0)), row("gmm", 1, None, "too few")),
        complete(Proposal(2, Configuration(3e-3, 32, 1.0)), row("gmm", 1, 0.1)),
    ]
    assert [record.proposal.number for record in best_trials(records, 3)] == [2]


def test_an_encoder_is_a_finalist_once_with_its_best_inlier_model() -> None:
    """With `inlier: sample` two trials may share an encoder."""
    records = [
        complete(
            Proposal(0, Configuration(1e-3, 32, 1.0), InlierSpec("gmm", 1)),
            row("gmm", 1, 0.8),
            encoder="a",
        ),
        complete(
            Proposal(1, Configuration(1e-3, 32, 1.0), InlierSpec("lof", 8)),
            row("lof", 8, 0.9),
            encoder="a",
        ),
        complete(
            Proposal(2, Configuration(2e-3, 32, 1.0), InlierSpec("lof", 8)),
            row("lof", 8, 0.7),
            encoder="b",
        ),
    ]
    proposals = [record.proposal for record in records]
    missing = reruns(records, proposals, Finalists(top=2, seeds=2), SEED)
    assert [(p.rerun_of, p.inlier) for p in missing] == [(k, InlierSpec("lof", 8)) for k in (1, 2)]


def test_seeds_stay_below_the_limit_of_numpy() -> None:
    [rerun] = reruns(study([0.5]), [], Finalists(top=1, seeds=2), 2**32 - 1)
    assert rerun.seed == 0


@pytest.mark.slow
def test_a_whole_run_repeats_the_best_trials_and_the_best_mean_wins(finished: Study) -> None:
    """Only a whole run trains finalists with a further seed."""
    best: dict[str, float] = {}
    means = defaultdict[tuple[str, ...], list[float]](list)
    for line in finished.trials:
        trial, score = line["rerun_of"] or line["trial"], float(line["val_score"])
        best[trial] = max(best.get(trial, 0.0), score if not line["rerun_of"] else 0.0)
        means[trial, line["inlier"], line["p"]].append(score)
    seed_of = {line["rerun_of"]: line["seed"] for line in finished.trials if line["rerun_of"]}
    assert seed_of == dict.fromkeys(sorted(best, key=lambda number: -best[number])[:2], "1")
    both = {key: fmean(scores) for key, scores in means.items() if len(scores) == 2}
    trial, inlier, p = max(both, key=lambda key: both[key])
    [config] = table(finished.folder / "best_config.csv")
    [searched] = {line["lr"] for line in finished.trials if line["trial"] == trial}
    assert (config["lr"], config["inlier"], config["p"]) == (searched, inlier, p)
    assert float(config["mean_score"]) == pytest.approx(both[trial, inlier, p])


def thinned(scores: list[float], complete_ones: set[int]) -> list[Record]:
    """Make the trials of a search that a pruner thinned out; a score is that at the rung."""
    return [
        record
        if record.proposal.number in complete_ones
        else replace(
            record, state=State.PRUNED, rows=(), history=(epoch(3, scores[record.proposal.number]),)
        )
        for record in study([*scores])
    ]


def numbers(records: list[Record], top: int = 1) -> list[int | None]:
    proposals = [record.proposal for record in records]
    return [p.rerun_of for p in promotions(records, proposals, Finalists(top=top, seeds=2))]


def test_the_best_pruned_trials_come_to_their_end_where_few_did() -> None:
    records = thinned([0.5, 0.9, 0.6, 0.8, 0.7], {0})
    assert numbers(records) == [1, 3]
    [first, _] = promotions(records, [r.proposal for r in records], Finalists(top=1, seeds=2))
    assert (first.number, first.seed, first.origin) == (5, records[1].seed, PROMOTED)
    assert first.configuration == records[1].proposal.configuration
    # Enough came to their end.
    assert numbers(thinned([0.5, 0.9, 0.6, 0.8, 0.7], {0, 2, 4})) == []


def test_a_promoted_trial_is_a_choice_of_its_own() -> None:
    records = thinned([0.5, 0.9, 0.6, 0.8], {0})
    first, second = promotions(records, [r.proposal for r in records], Finalists(top=1, seeds=2))
    records.append(complete(first, row("gmm", 1, 0.95), encoder=records[1].encoder))
    proposals = [*(r.proposal for r in records), second]
    assert promotions(records, proposals, Finalists(top=1, seeds=2)) == []  # the second runs
    assert [r.proposal.number for r in best_trials(records, 2)] == [first.number, 0]
    ranking = rank(records)
    assert ranking is not None
    assert ranking.winner.proposal == first
    # A diverged one is replaced by the next.
    records.append(failed(second))
    assert [p.rerun_of for p in promotions(records, proposals, Finalists(top=1, seeds=2))] == [2]


def test_nothing_is_promoted_once_a_finalist_was_chosen() -> None:
    records = thinned([0.5, 0.9, 0.6, 0.8], {0})
    finalists = Finalists(top=1, seeds=2)
    proposals = [record.proposal for record in records]
    [further] = reruns(records, proposals, finalists, SEED)
    assert promotions(records, [*proposals, further], finalists) == []


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.integers(1, 4)
)
def test_never_fewer_than_three_trials_for_a_finalist_come_to_their_end(
    trials: list[tuple[float, bool]], top: int
) -> None:
    kept = {n for n, (_, is_complete) in enumerate(trials) if is_complete}
    records = thinned([score for score, _ in trials], kept)
    promoted = numbers(records, top)
    assert len(set(promoted)) == len(promoted)
    assert len(kept) + len(promoted) == max(len(kept), min(3 * top, len(trials)))
