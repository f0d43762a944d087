"""Who is trained again, with which seeds."""

from collections import defaultdict
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.config import Configuration
from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials, reruns
from raysearch.study.records import Proposal, Record, State
from raysearch.study.strategy import Finalists
from tests.command import Study, table
from tests.records import complete, failed, row

SEED = 5


def study(scores: list[float | None]) -> list[Record]:
    """Trials of a search; None is one that failed."""
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
    known = [record.proposal for record in records]
    found = reruns(records, known, Finalists(top=top, seeds=seeds), SEED)
    ended = [number for number, score in enumerate(scores) if score is not None]
    best = sorted(ended, key=lambda number: (-(scores[number] or 0.0), number))[:top]
    assert [(p.rerun_of, p.seed) for p in found] == [
        (number, SEED + k) for k in range(1, seeds) for number in best
    ]
    assert [p.number for p in found] == list(range(len(scores), len(scores) + len(found)))
    for proposal in found:
        assert proposal.rerun_of is not None
        assert proposal.key == known[proposal.rerun_of].key
        assert proposal.origin == ""


@given(SCORES, st.data())
def test_what_was_given_out_is_not_proposed_again(
    scores: list[float | None], data: st.DataObject
) -> None:
    """However the run was cut short, and whatever became of the trainings."""
    records, finalists = study(scores), Finalists(top=2, seeds=3)
    known = [record.proposal for record in records]
    everything = reruns(records, known, finalists, SEED)
    given_out = everything[: data.draw(st.integers(0, len(everything)))]
    ended = [
        failed(p) if data.draw(st.booleans()) else complete(p, row("gmm", 1, 1.0))
        for p in given_out
    ]
    assert (
        reruns([*records, *ended], known + given_out, finalists, SEED)
        == (everything[len(given_out) :])
    )


@given(SCORES, st.data(), st.integers(1, 4))
def test_who_is_certain_is_a_finalist_whatever_the_trials_at_work_bring(
    scores: list[float | None], data: st.DataObject, top: int
) -> None:
    records, finalists = study(scores), Finalists(top=top, seeds=3)
    known = [record.proposal for record in records]
    at_work = data.draw(st.sets(st.sampled_from(range(len(scores))))) if scores else set()
    ended = [record for record in records if record.proposal.number not in at_work]
    early = reruns(ended, known, finalists, SEED, rivals=len(at_work))
    whole = reruns(records, known, finalists, SEED)
    assert {(p.rerun_of, p.seed) for p in early} <= {(p.rerun_of, p.seed) for p in whole}
    assert len(early) == len(whole) if not at_work else {p.seed for p in early} <= {SEED + 1}


def test_trials_that_were_given_up_or_have_no_score_are_no_finalists() -> None:
    records = [
        complete(Proposal(0, Configuration(1e-3, 32, 1.0)), row("gmm", 1, 0.9), state=State.PRUNED),
        complete(Proposal(1, Configuration(2e-3, 32, 1.0)), row("gmm", 1, None, "too few")),
        complete(Proposal(2, Configuration(3e-3, 32, 1.0)), row("gmm", 1, 0.1)),
    ]
    assert [record.proposal.number for record in best_trials(records, 3)] == [2]


def test_an_encoder_is_a_finalist_once_with_its_best_inlier_model() -> None:
    """As with `inlier: sample`, where two trials may share an encoder."""
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
    known = [record.proposal for record in records]
    found = reruns(records, known, Finalists(top=2, seeds=2), SEED)
    assert [(p.rerun_of, p.inlier) for p in found] == [(k, InlierSpec("lof", 8)) for k in (1, 2)]


def test_seeds_stay_what_numpy_takes() -> None:
    [found] = reruns(study([0.5]), [], Finalists(top=1, seeds=2), 2**32 - 1)
    assert found.seed == 0


@pytest.mark.slow
def test_a_whole_run_trains_the_best_again_and_the_best_mean_wins(finished: Study) -> None:
    """Only a whole run has finalists that were really trained with a further seed."""
    best: dict[str, float] = {}
    means = defaultdict[tuple[str, ...], list[float]](list)
    for line in finished.trials:
        trial, score = line["rerun_of"] or line["trial"], float(line["val_score"])
        best[trial] = max(best.get(trial, 0.0), score if not line["rerun_of"] else 0.0)
        means[trial, line["inlier"], line["p"]].append(score)
    again = {line["rerun_of"]: line["seed"] for line in finished.trials if line["rerun_of"]}
    assert again == dict.fromkeys(sorted(best, key=lambda number: -best[number])[:2], "1")
    both = {key: fmean(scores) for key, scores in means.items() if len(scores) == 2}
    trial, inlier, p = max(both, key=lambda key: both[key])
    [found] = table(finished.folder / "best_config.csv")
    [searched] = {line["lr"] for line in finished.trials if line["trial"] == trial}
    assert (found["lr"], found["inlier"], found["p"]) == (searched, inlier, p)
    assert float(found["mean_score"]) == pytest.approx(both[trial, inlier, p])
