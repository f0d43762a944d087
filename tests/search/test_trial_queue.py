"""What a study does next: what was left open, what the sampler proposes, the finalists."""

from pathlib import Path

import pytest

from raysearch.config import Configuration
from raysearch.errors import UserError
from raysearch.search.trial_queue import TrialQueue, trials_since_best
from raysearch.study.records import Proposal, Record, State
from tests.records import complete, failed, make_space, row
from tests.search.queues import end, epoch, interrupt, make_queue, space


def take(queue: TrialQueue) -> Proposal:
    proposal = queue.next(())
    assert proposal is not None
    return proposal


def test_trials_are_proposed_noted_and_counted(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space())
    assert (queue.name, queue.total, queue.stop_reason) == ("valve", 4, None)
    made = [take(queue) for _ in range(4)]
    assert [proposal.number for proposal in made] == [0, 1, 2, 3]
    assert queue.study.proposals() == made
    assert queue.stop_reason == "4 trials"
    assert queue.next(()) is None
    for proposal in made:
        assert not queue.is_finished
        end(queue, proposal)
    assert queue.is_finished
    assert sorted(queue.records) == [0, 1, 2, 3]


def test_what_was_left_open_comes_first(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space())
    made = [take(before) for _ in range(3)]
    end(before, made[1])
    again = make_queue(tmp_path / "valve", space())
    assert [take(again) for _ in range(2)] == [made[0], made[2]]
    assert take(again).number == 3


def test_an_encoder_at_work_is_waited_for(tmp_path: Path) -> None:
    asked = space(inlier="sample", trials=3).model_copy()
    one = make_space(
        strategy=asked.strategy.model_dump(), lr=1e-3, batch_size=32, **{"lambda": 1.0}
    )
    queue = make_queue(tmp_path / "valve", one)
    first = take(queue)
    busy = [queue.context.config(first).signature()]
    assert queue.next(busy) is None
    assert not queue.is_finished
    end(queue, first)
    second = take(queue)
    assert (second.number, second.key != first.key) == (1, True)


def test_a_resumed_study_knows_the_rungs_of_the_trials_that_it_takes_up(tmp_path: Path) -> None:
    asked = space(scheduler="asha", grace=2)
    before = make_queue(tmp_path / "valve", asked)
    made = [take(before) for _ in range(3)]
    interrupt(before, made[0], [None, 0.8, None])
    again = make_queue(tmp_path / "valve", asked)
    assert again.report(1, epoch(2, 0.7))
    assert not again.report(2, epoch(2, 0.9))


def test_a_trial_that_was_interrupted_at_a_rung_where_it_is_behind_is_given_up(
    tmp_path: Path,
) -> None:
    asked = space(scheduler="asha", grace=2)
    before = make_queue(tmp_path / "valve", asked)
    made = [take(before) for _ in range(3)]
    record = complete(made[0], row("gmm", 1, 0.9), history=(epoch(2, 0.9),))
    before.study.add(record)
    interrupt(before, made[1], [None, 0.8])
    interrupt(before, made[2], [None, 0.7, None])  # it was let go on
    again = make_queue(tmp_path / "valve", asked)
    again.devices = 0.5
    again.warm_start([])
    given_up = again.study.record(1)
    assert given_up is not None
    assert (given_up.state, given_up.devices) == (State.PRUNED, 0.5)
    assert again.records[1] == given_up
    assert [take(again).number for _ in range(2)] == [2, 3]


def test_the_price_counts_ended_and_unfinished_trials(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space())
    first, second = take(before), take(before)
    record = end(before, first)
    interrupt(before, second, [None, None])
    again = make_queue(tmp_path / "valve", space())
    again.devices = 2.0
    assert again.device_seconds == pytest.approx(record.device_seconds + 2 * 20.0)
    again.report(1, epoch(3))
    assert again.device_seconds == pytest.approx(record.device_seconds + 2 * 30.0)
    ended = complete(second, row("gmm", 1, 0.5), train_seconds=50.0, score_seconds=1.0)
    again.tell(ended)
    assert again.device_seconds == pytest.approx(record.device_seconds + 51.0)


def test_patience_ends_the_search_when_nothing_gets_better(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=50, patience=3))
    scores = [0.5, 0.6, None, 0.55, 0.6, 0.4]
    for score in scores:
        assert queue.stop_reason is None
        end(queue, take(queue), score)
    assert queue.stop_reason == "no better score in 3 trials"
    assert queue.next(()) is None
    assert queue.is_finished
    assert queue.total == len(scores)
    assert make_queue(tmp_path / "valve", space(trials=50, patience=3)).is_finished


def test_pruned_trials_use_up_patience_and_failed_ones_do_not() -> None:
    proposals = [Proposal(number, Configuration(1e-3, 32, 1.0)) for number in range(4)]
    records = [
        complete(proposals[0], row("gmm", 1, 0.5)),
        failed(proposals[1]),
        Record(proposals[2], State.PRUNED, "a", 2, 0, "here"),
        complete(proposals[3], row("gmm", 1, None, "too few")),
    ]
    assert [trials_since_best(records[:count]) for count in range(5)] == [0, 0, 0, 1, 2]


def test_a_space_in_which_everything_was_tried_is_over(tmp_path: Path) -> None:
    one = make_space(
        strategy=space().strategy.model_dump(), lr=1e-3, batch_size=32, **{"lambda": 1.0}
    )
    queue = make_queue(tmp_path / "valve", one)
    end(queue, take(queue))
    assert queue.next(()) is None
    assert queue.stop_reason == "everything in the space was tried"
    assert queue.is_finished


# Finalists


def finalists(tmp_path: Path, trials: int = 4) -> TrialQueue:
    return make_queue(tmp_path / "valve", space(trials=trials, finalists={"top": 2, "seeds": 3}))


def test_finalists_come_when_all_trials_have_ended(tmp_path: Path) -> None:
    queue = finalists(tmp_path)
    assert queue.total == 4 + 2 * 2
    made = [take(queue) for _ in range(4)]
    assert queue.next(()) is None
    for proposal, score in zip(made, [0.9, 0.5, 0.8, 0.7], strict=True):
        assert not queue.is_finished
        end(queue, proposal, score)
    reruns = [take(queue) for _ in range(4)]
    assert [proposal.number for proposal in reruns] == [4, 5, 6, 7]
    assert {(p.rerun_of, p.seed) for p in reruns} == {(0, 1), (0, 2), (2, 1), (2, 2)}
    assert {queue.context.config(p).signature() for p in reruns}.isdisjoint(
        queue.context.config(p).signature() for p in made
    )
    assert queue.next(()) is None
    for proposal in reruns:
        assert not queue.is_finished
        end(queue, proposal)
    assert queue.is_finished
    assert queue.total == 8


def test_a_finalist_whose_place_is_certain_does_not_wait_for_the_last_trials(
    tmp_path: Path,
) -> None:
    queue = finalists(tmp_path)
    first, second, third, last = (take(queue) for _ in range(4))
    for proposal, score in ((first, 0.9), (second, 0.5)):
        end(queue, proposal, score)
        assert queue.next(()) is None  # the trials at work may take both places
    end(queue, third, 0.8)
    early = take(queue)
    assert (early.rerun_of, early.seed) == (first.number, 1)
    assert queue.next(()) is None
    assert queue.total == 8
    end(queue, last, 0.95)
    others = [take(queue) for _ in range(3)]
    assert [(p.rerun_of, p.seed) for p in others] == [(last.number, 1), (last.number, 2), (0, 2)]
    assert queue.total == 8


def test_no_finalist_comes_early_while_patience_may_go_on(tmp_path: Path) -> None:
    strategy = {"trials": 9, "patience": 2, "finalists": {"top": 2, "seeds": 2}}
    queue = make_queue(tmp_path / "valve", space(**strategy))
    made = [take(queue) for _ in range(4)]
    for proposal, score in zip(made, [0.9, 0.5, 0.4], strict=False):
        end(queue, proposal, score)
    assert queue.stop_reason == "no better score in 2 trials"
    assert queue.next(()) is None
    end(queue, made[3], 0.95)
    assert queue.stop_reason is None
    assert take(queue).rerun_of is None


def test_finalists_are_not_given_out_twice_nor_told_to_the_sampler(tmp_path: Path) -> None:
    before = finalists(tmp_path)
    for score in (0.9, 0.5, 0.8, 0.7):
        end(before, take(before), score)
    first, second = take(before), take(before)
    end(before, first)
    again = finalists(tmp_path)
    assert take(again) == second
    assert [take(again).number for _ in range(2)] == [6, 7]
    assert again.next(()) is None
    assert len(again.sampler.study.study.trials) == 4
    # More trials later: their numbers go on behind the finalists'.
    more = finalists(tmp_path, trials=5)
    assert [take(more).number for _ in range(4)] == [5, 6, 7, 8]


# Warm start


def test_a_study_begins_with_the_paper_then_with_what_other_studies_found(tmp_path: Path) -> None:
    fan = make_queue(tmp_path / "fan", space(), "fan")
    for score in (0.9, 0.5, 0.8, 0.7):
        end(fan, take(fan), score)
    valve = make_queue(tmp_path / "valve", space(trials=9, warm_start="paper"))
    valve.warm_start([fan])
    made = [take(valve) for _ in range(5)]
    assert made[0].configuration == Configuration(5e-4, 128, 10.0)
    best = [fan.records[number].proposal.key for number in (0, 2, 3)]
    assert [proposal.key for proposal in made[1:4]] == best
    assert [proposal.origin for proposal in made] == [
        "paper", "fan trial 0", "fan trial 2", "fan trial 3", ""
    ]  # fmt: skip
    again = make_queue(tmp_path / "valve", space(trials=9, warm_start="paper"))
    again.warm_start([fan])
    assert [take(again) for _ in range(5)] == made
    assert take(again).origin == ""


def test_the_paper_knows_no_other_machines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Table I has no lathe"):
        make_queue(tmp_path / "lathe", space(warm_start="paper"), "lathe")
