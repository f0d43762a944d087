"""Fair scheduling of the trials of several studies."""

from pathlib import Path

from raysearch.scoring.spec import InlierSpec
from raysearch.search.fair_share import FairShare
from raysearch.search.retries import FIRST_PAUSE, Failure, Retries
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
from tests.records import complete, row
from tests.search.queues import end, make_queue, space


def queues(folder: Path, *names: str, **strategy: object) -> list[TrialQueue]:
    return [make_queue(folder / name, space(**strategy), name) for name in names]


def take(share: FairShare, name: str) -> tuple[str, Proposal]:
    proposal = share.next(name)
    assert proposal is not None
    return proposal


def test_one_study_is_served_until_it_is_finished(tmp_path: Path) -> None:
    [valve] = queues(tmp_path, "valve", trials=2)
    share = FairShare([valve], 2)
    started = [take(share, name) for name in "ab"]
    assert [(study, proposal.number) for study, proposal in started] == [("valve", 0), ("valve", 1)]
    assert share.next("c") is None
    assert not share.is_finished
    for name, (_, proposal) in zip("ab", started, strict=True):
        end(valve, proposal)
        share.release(name)
    assert share.next("c") is None
    assert share.is_finished


def test_the_study_with_the_fewest_running_trials_comes_first(tmp_path: Path) -> None:
    share = FairShare(queues(tmp_path, "fan", "valve"), 4)
    assert [take(share, name)[0] for name in "abcd"] == ["fan", "valve", "fan", "valve"]
    share.release("a")
    share.release("c")
    assert [take(share, name)[0] for name in "ef"] == ["fan", "fan"]


def test_a_waiting_study_is_warm_started_from_finished_ones(tmp_path: Path) -> None:
    fan, pump, valve = queues(tmp_path, "fan", "pump", "valve", trials=2)
    share = FairShare([fan, pump, valve], 2)
    first = {name: take(share, name) for name in "abcd"}
    assert [study for study, _ in first.values()] == ["fan", "pump", "fan", "pump"]
    for name, (study, proposal) in first.items():
        if study == "fan":
            end(fan, proposal, 0.5 + 0.1 * proposal.number)
            share.release(name)
    study, proposal = take(share, "e")
    assert study == "valve"
    assert proposal.origin == "fan trial 1"
    assert proposal.key == fan.records[1].proposal.key


def test_a_study_of_another_method_or_repetition_is_no_warm_start(tmp_path: Path) -> None:
    folders = ("serial-fan", "serial-seed1-fan", "serial-valve")
    machines = ("fan", "fan", "valve")
    fan, again, valve = (
        make_queue(tmp_path / name, space(trials=1), machine)
        for name, machine in zip(folders, machines, strict=True)
    )
    share = FairShare([fan, again, valve], 1)
    _, proposal = take(share, "a")
    end(fan, proposal, 0.7)
    share.release("a")
    name, other = take(share, "b")
    assert (name, other.origin) == ("serial-seed1-fan", "")
    end(again, other, 0.9)
    share.release("b")
    assert take(share, "c")[1].origin == "serial-fan trial 0"


def test_a_study_that_waits_for_its_last_trial_leaves_its_slots(tmp_path: Path) -> None:
    share = FairShare(queues(tmp_path, "fan", "valve", trials=1), 1)
    assert take(share, "a")[0] == "fan"
    assert take(share, "b")[0] == "valve"
    assert share.next("c") is None


def test_two_trials_of_one_encoder_run_one_after_the_other(tmp_path: Path) -> None:
    settings = space(inlier="sample", trials=3)
    before = make_queue(tmp_path / "valve", settings)
    same = [
        Proposal(0, Configuration(0.001, 32, 1.0), InlierSpec("gmm", 1)),
        Proposal(1, Configuration(0.001, 32, 1.0), InlierSpec("lof", 4)),
        Proposal(2, Configuration(0.002, 32, 1.0), InlierSpec("gmm", 1)),
    ]
    for proposal in same:
        before.study.propose(proposal)
    queue = make_queue(tmp_path / "valve", settings)
    share = FairShare([queue], 4)
    assert take(share, "a")[1] == same[0]
    assert take(share, "b")[1] == same[2]
    assert share.next("c") is None
    queue.study.add(complete(same[0], row("gmm", 1, 0.7)))
    queue.tell(complete(same[0], row("gmm", 1, 0.7)))
    share.release("a")
    assert take(share, "c")[1] == same[1]


def test_a_study_finished_in_an_earlier_run_takes_no_slot(tmp_path: Path) -> None:
    fan, valve = queues(tmp_path, "fan", "valve", trials=1)
    proposal = fan.next(())
    assert proposal is not None
    end(fan, proposal, 0.9)
    share = FairShare([make_queue(tmp_path / "fan", space(trials=1), "fan"), valve], 2)
    study, first = take(share, "a")
    assert (study, first.origin) == ("valve", "fan trial 0")


def test_a_trial_that_waits_for_its_next_attempt_keeps_its_slot(tmp_path: Path) -> None:
    [valve] = queues(tmp_path, "valve")
    now = 0.0
    retries = Retries(1, lambda: now)
    share = FairShare([valve], 1, retries)
    _, first = take(share, "a")
    share.release("a")
    retries.fail(Failure("valve", first.number, "OSError: gone"))
    valve.retry(first)
    assert share.next("b") is None  # storage that is away would fail one proposal after the other
    assert len(valve.proposals) == 1
    now = FIRST_PAUSE
    assert take(share, "c") == ("valve", first)
