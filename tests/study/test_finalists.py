"""Finalists and their further seeds."""

from collections import defaultdict
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials, reruns
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from raysearch.training.configuration import Configuration
from tests.command import Study, table
from tests.records import complete, failed, row

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
