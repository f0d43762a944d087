"""The order of trials: interrupted ones, new proposals, and the finalists."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysearch.errors import UserError
from raysearch.report.wording import origin
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.finalists import RESTORATIONS
from raysearch.study.ranking import rank, trials_since_best
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from tests import runs
from tests.files import put, put_checkpoint
from tests.records import complete, failed, make_space, row
from tests.search.queues import end, epoch, interrupt, make_queue, space


def take(queue: TrialQueue) -> Proposal:
    proposal = queue.next(())
    assert proposal is not None
    return proposal


def test_trials_are_proposed_written_and_counted(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space())
    assert (queue.name, queue.total, queue.stop_reason) == ("valve", 4, None)
    proposed = [take(queue) for _ in range(4)]
    assert [proposal.number for proposal in proposed] == [0, 1, 2, 3]
    assert queue.study.proposals() == proposed
    assert queue.stop_reason == "4 trials"
    assert queue.next(()) is None
    for proposal in proposed:
        assert not queue.is_finished
        end(queue, proposal)
    assert queue.is_finished
    assert sorted(queue.records) == [0, 1, 2, 3]


def test_interrupted_trials_come_first(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space())
    proposed = [take(before) for _ in range(3)]
    end(before, proposed[1])
    resumed = make_queue(tmp_path / "valve", space())
    assert [take(resumed) for _ in range(2)] == [proposed[0], proposed[2]]
    assert take(resumed).number == 3


def test_a_running_encoder_blocks_its_other_trials(tmp_path: Path) -> None:
    settings = space(inlier="sample", trials=3).model_copy()
    single = make_space(
        strategy=settings.strategy.model_dump(), lr=1e-3, batch_size=32, **{"lambda": 1.0}
    )
    queue = make_queue(tmp_path / "valve", single)
    first = take(queue)
    busy = [queue.context.config(first).signature()]
    assert queue.next(busy) is None
    assert not queue.is_finished
    end(queue, first)
    second = take(queue)
    assert (second.number, second.key != first.key) == (1, True)


def test_a_resumed_study_knows_the_rungs_of_its_interrupted_trials(tmp_path: Path) -> None:
    settings = space(scheduler="asha", grace=2)
    before = make_queue(tmp_path / "valve", settings)
    proposed = [take(before) for _ in range(3)]
    interrupt(before, proposed[0], [None, 0.8, None])
    resumed = make_queue(tmp_path / "valve", settings)
    assert resumed.report(1, epoch(2, 0.7))
    assert not resumed.report(2, epoch(2, 0.9))


def test_a_trial_interrupted_at_a_rung_may_be_pruned_on_resume(
    tmp_path: Path,
) -> None:
    settings = space(scheduler="asha", grace=2)
    before = make_queue(tmp_path / "valve", settings)
    proposed = [take(before) for _ in range(3)]
    record = complete(proposed[0], row("gmm", 1, 0.9), history=(epoch(2, 0.9),))
    before.study.add(record)
    interrupt(before, proposed[1], [None, 0.8])
    interrupt(before, proposed[2], [None, 0.7, None])  # it continued after the rung
    resumed = make_queue(tmp_path / "valve", settings)
    resumed.devices = 0.5
    resumed.warm_start([])
    pruned = resumed.study.record(1)
    assert pruned is not None
    assert (pruned.state, pruned.devices) == (State.PRUNED, 0.5)
    assert resumed.records[1] == pruned
    assert [take(resumed).number for _ in range(2)] == [2, 3]


def test_the_price_counts_ended_and_unfinished_trials(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space())
    first, second = take(before), take(before)
    record = end(before, first)
    interrupt(before, second, [None, None])
    resumed = make_queue(tmp_path / "valve", space())
    resumed.devices = 2.0
    assert resumed.device_seconds == pytest.approx(record.device_seconds + 2 * 20.0)
    resumed.report(1, epoch(3))
    assert resumed.device_seconds == pytest.approx(record.device_seconds + 2 * 30.0)
    ended = complete(second, row("gmm", 1, 0.5), train_seconds=50.0, score_seconds=1.0)
    resumed.tell(ended)
    assert resumed.device_seconds == pytest.approx(record.device_seconds + 51.0)


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


def test_an_exhausted_space_finishes_the_study(tmp_path: Path) -> None:
    single = make_space(
        strategy=space().strategy.model_dump(), lr=1e-3, batch_size=32, **{"lambda": 1.0}
    )
    queue = make_queue(tmp_path / "valve", single)
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
    proposed = [take(queue) for _ in range(4)]
    assert queue.next(()) is None
    for proposal, score in zip(proposed, [0.9, 0.5, 0.8, 0.7], strict=True):
        assert not queue.is_finished
        end(queue, proposal, score)
    reruns = [take(queue) for _ in range(4)]
    assert [proposal.number for proposal in reruns] == [4, 5, 6, 7]
    assert {(p.rerun_of, p.seed) for p in reruns} == {(0, 1), (0, 2), (2, 1), (2, 2)}
    assert {queue.context.config(p).signature() for p in reruns}.isdisjoint(
        queue.context.config(p).signature() for p in proposed
    )
    assert queue.next(()) is None
    for proposal in reruns:
        assert not queue.is_finished
        end(queue, proposal)
    assert queue.is_finished
    assert queue.total == 8


def test_a_certain_finalist_does_not_wait_for_the_last_trials(
    tmp_path: Path,
) -> None:
    queue = finalists(tmp_path)
    first, second, third, last = (take(queue) for _ in range(4))
    for proposal, score in ((first, 0.9), (second, 0.5)):
        end(queue, proposal, score)
        assert queue.next(()) is None  # the running trials may displace both
    end(queue, third, 0.8)
    certain = take(queue)
    assert (certain.rerun_of, certain.seed) == (first.number, 1)
    assert queue.next(()) is None
    assert queue.total == 8
    end(queue, last, 0.95)
    remaining = [take(queue) for _ in range(3)]
    assert [(p.rerun_of, p.seed) for p in remaining] == [(last.number, 1), (last.number, 2), (0, 2)]
    assert queue.total == 8


def test_no_finalist_comes_early_while_patience_may_be_reset(tmp_path: Path) -> None:
    strategy = {"trials": 9, "patience": 2, "finalists": {"top": 2, "seeds": 2}}
    queue = make_queue(tmp_path / "valve", space(**strategy))
    proposed = [take(queue) for _ in range(4)]
    for proposal, score in zip(proposed, [0.9, 0.5, 0.4], strict=False):
        end(queue, proposal, score)
    assert queue.stop_reason == "no better score in 2 trials"
    assert queue.next(()) is None
    end(queue, proposed[3], 0.95)
    assert queue.stop_reason is None
    assert take(queue).rerun_of is None


def test_finalists_are_proposed_once_and_hidden_from_the_sampler(tmp_path: Path) -> None:
    before = finalists(tmp_path)
    for score in (0.9, 0.5, 0.8, 0.7):
        end(before, take(before), score)
    first, second = take(before), take(before)
    end(before, first)
    resumed = finalists(tmp_path)
    assert take(resumed) == second
    assert [take(resumed).number for _ in range(2)] == [6, 7]
    assert resumed.next(()) is None
    assert len(resumed.sampler.study.study.trials) == 4
    # Further trials count up from the finalists' numbers.
    more = finalists(tmp_path, trials=5)
    assert [take(more).number for _ in range(4)] == [5, 6, 7, 8]


def pruning(tmp_path: Path) -> TrialQueue:
    strategy = {"trials": 4, "scheduler": "asha", "grace": 2, "finalists": {"top": 1, "seeds": 2}}
    return make_queue(tmp_path / "valve", space(**strategy))


def prune(queue: TrialQueue, proposal: Proposal, score: float) -> None:
    encoder = queue.context.config(proposal).signature()
    record = Record(proposal, State.PRUNED, encoder, 8, 0, "here", history=(epoch(2, score),))
    queue.study.add(record)
    queue.tell(record)


def test_pruned_trials_are_promoted_before_a_finalist_is_chosen(tmp_path: Path) -> None:
    queue = pruning(tmp_path)
    proposed = [take(queue) for _ in range(4)]
    end(queue, proposed[0], 0.9)
    prune(queue, proposed[1], 0.3)
    prune(queue, proposed[2], 0.6)
    assert queue.next(()) is None  # the last trial may be pruned as well
    prune(queue, proposed[3], 0.5)
    assert not queue.is_finished
    promoted = take(queue)
    assert (promoted.number, promoted.rerun_of, promoted.seed) == (4, 2, 0)
    assert queue.context.config(promoted) == queue.context.config(proposed[2])
    # A resumed search goes on with it and promotes the same next one.
    resumed = pruning(tmp_path)
    assert take(resumed) == promoted
    second = take(resumed)
    assert (second.number, second.rerun_of) == (5, 3)
    assert resumed.next(()) is None
    end(resumed, promoted, 0.95)
    assert resumed.next(()) is None
    end(resumed, second, 0.4)
    finalist = take(resumed)
    assert (finalist.number, finalist.rerun_of, finalist.seed) == (6, promoted.number, 1)
    assert resumed.next(()) is None
    end(resumed, finalist, 0.9)
    assert resumed.is_finished
    assert pruning(tmp_path).is_finished


# Failures of machines


def test_a_trial_that_failed_on_a_machine_comes_again_when_it_is_due(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=2))
    first, second = take(queue), take(queue)
    queue.retry(first)
    assert queue.next((), {first.number}) is None
    assert queue.next(()) == first
    end(queue, second)
    queue.put_aside(first, "OSError: gone")
    assert queue.is_over
    assert not queue.is_finished
    assert queue.next(()) is None
    resumed = make_queue(tmp_path / "valve", space(trials=2))
    assert take(resumed) == first


def test_failed_trials_can_be_put_back(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space(trials=2))
    first, second = take(before), take(before)
    end(before, first, None)
    record = end(before, second)
    assert [r.proposal for r in before.study.drop_failed()] == [first]
    again = make_queue(tmp_path / "valve", space(trials=2))
    assert again.study.records() == [record]
    assert take(again) == first
    assert again.study.drop_failed() == []


# Warm start


def test_the_winner_is_trained_again_if_its_checkpoint_was_deleted(tmp_path: Path) -> None:
    """With finalists another configuration may win than the one whose encoder was kept."""
    before = make_queue(tmp_path / "valve", space(trials=2))
    for score in (0.6, 0.7):
        end(before, take(before), score)
    winner = before.proposals[1]
    before.study.drop_checkpoints("encoder1")
    queue = make_queue(tmp_path / "valve", space(trials=2))
    assert not queue.is_finished
    again = take(queue)
    assert (again.number, again.rerun_of, again.seed) == (2, 1, 0)
    assert queue.context.config(again).signature() == queue.context.config(winner).signature()
    assert "since its checkpoint was deleted" in origin(again)
    assert queue.next(()) is None
    record = complete(again, row("gmm", 1, 0.7), encoder="encoder1")
    put_checkpoint(queue.study.encoder("encoder1") / "best.safetensors")
    queue.study.add(record)
    queue.tell(record)
    assert queue.is_finished
    ranking = rank(queue.study.records())
    assert ranking is not None
    assert [training.record.proposal.number for training in ranking.winner.trainings] == [1]


def test_a_winner_that_cannot_be_trained_again_ends_the_study(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=1))
    end(queue, take(queue), 0.6)
    queue.study.drop_checkpoints("encoder0")
    queue = make_queue(tmp_path / "valve", space(trials=1))
    record = replace(failed(take(queue)), encoder="encoder0")
    queue.study.add(record)
    queue.tell(record)
    assert queue.is_finished


def test_a_checkpoint_that_is_never_kept_does_not_train_without_end(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=1))
    end(queue, take(queue), 0.6)
    queue.study.drop_checkpoints("encoder0")
    for run in range(2):
        queue = make_queue(tmp_path / "valve", space(trials=1))
        for number in range(RESTORATIONS):
            assert not queue.is_finished
            again = take(queue)
            assert (again.number, again.rerun_of) == (1 + RESTORATIONS * run + number, 0)
            record = complete(again, row("gmm", 1, 0.6), encoder="encoder0")
            queue.study.add(record)
            queue.tell(record)
        # The end of the run says that the checkpoint is gone.
        assert queue.is_finished


def test_a_winner_with_a_detector_needs_no_checkpoint(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space(trials=1))
    end(queue, take(queue), 0.6)
    runs.conclude(queue.study)
    put(queue.study.path / "detector" / "detector.json", "{}")
    queue.study.drop_checkpoints("encoder0")
    assert make_queue(tmp_path / "valve", space(trials=1)).is_finished


def test_a_study_starts_with_the_paper_then_with_other_studies(tmp_path: Path) -> None:
    fan = make_queue(tmp_path / "fan", space(), "fan")
    for score in (0.9, 0.5, 0.8, 0.7):
        end(fan, take(fan), score)
    valve = make_queue(tmp_path / "valve", space(trials=9, warm_start="paper"))
    valve.warm_start([fan])
    proposed = [take(valve) for _ in range(5)]
    assert proposed[0].configuration == Configuration(5e-4, 128, 10.0)
    best = [fan.records[number].proposal.key for number in (0, 2, 3)]
    assert [proposal.key for proposal in proposed[1:4]] == best
    assert [proposal.origin for proposal in proposed] == [
        "paper", "fan trial 0", "fan trial 2", "fan trial 3", ""
    ]  # fmt: skip
    resumed = make_queue(tmp_path / "valve", space(trials=9, warm_start="paper"))
    resumed.warm_start([fan])
    assert [take(resumed) for _ in range(5)] == proposed
    assert take(resumed).origin == ""


def test_the_paper_knows_no_other_machines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Table I has no lathe"):
        make_queue(tmp_path / "lathe", space(warm_start="paper"), "lathe")
