"""Trials of several studies, handed out fairly."""

from pathlib import Path

from raysearch.config import Configuration
from raysearch.scoring.spec import InlierSpec
from raysearch.search.fair_share import FairShare
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal
from tests.records import complete, row
from tests.search.queues import end, make_queue, space


def queues(folder: Path, *names: str, **strategy: object) -> list[TrialQueue]:
    return [make_queue(folder / name, space(**strategy), name) for name in names]


def given(queue: FairShare, name: str) -> tuple[str, Proposal]:
    found = queue.next(name)
    assert found is not None
    return found


def test_one_study_is_served_until_it_is_over(tmp_path: Path) -> None:
    [only] = queues(tmp_path, "valve", trials=2)
    queue = FairShare([only], 2)
    made = [given(queue, name) for name in "ab"]
    assert [(study, proposal.number) for study, proposal in made] == [("valve", 0), ("valve", 1)]
    assert queue.next("c") is None
    assert not queue.is_finished
    for name, (_, proposal) in zip("ab", made, strict=True):
        end(only, proposal)
        queue.release(name)
    assert queue.next("c") is None
    assert queue.is_finished


def test_the_study_with_the_fewest_at_work_comes_first(tmp_path: Path) -> None:
    queue = FairShare(queues(tmp_path, "fan", "valve"), 4)
    assert [given(queue, name)[0] for name in "abcd"] == ["fan", "valve", "fan", "valve"]
    queue.release("a")
    queue.release("c")
    assert [given(queue, name)[0] for name in "ef"] == ["fan", "fan"]


def test_who_waits_begins_from_what_the_finished_found(tmp_path: Path) -> None:
    fan, pump, valve = queues(tmp_path, "fan", "pump", "valve", trials=2)
    queue = FairShare([fan, pump, valve], 2)
    first = {name: given(queue, name) for name in "abcd"}
    assert [study for study, _ in first.values()] == ["fan", "pump", "fan", "pump"]
    for name, (study, proposal) in first.items():
        if study == "fan":
            end(fan, proposal, 0.5 + 0.1 * proposal.number)
            queue.release(name)
    study, proposal = given(queue, "e")
    assert study == "valve"
    assert proposal.origin == "fan trial 1"
    assert proposal.key == fan.records[1].proposal.key


def test_a_study_that_waits_for_its_last_trial_leaves_its_slots(tmp_path: Path) -> None:
    queue = FairShare(queues(tmp_path, "fan", "valve", trials=1), 1)
    assert given(queue, "a")[0] == "fan"
    assert given(queue, "b")[0] == "valve"
    assert queue.next("c") is None


def test_two_trials_of_one_encoder_run_one_after_the_other(tmp_path: Path) -> None:
    asked = space(inlier="sample", trials=3)
    before = make_queue(tmp_path / "valve", asked)
    same = [
        Proposal(0, Configuration(0.001, 32, 1.0), InlierSpec("gmm", 1)),
        Proposal(1, Configuration(0.001, 32, 1.0), InlierSpec("lof", 4)),
        Proposal(2, Configuration(0.002, 32, 1.0), InlierSpec("gmm", 1)),
    ]
    for proposal in same:
        before.study.propose(proposal)
    queue = make_queue(tmp_path / "valve", asked)
    fair_share = FairShare([queue], 4)
    assert given(fair_share, "a")[1] == same[0]
    assert given(fair_share, "b")[1] == same[2]
    assert fair_share.next("c") is None
    queue.study.add(complete(same[0], row("gmm", 1, 0.7)))
    queue.tell(complete(same[0], row("gmm", 1, 0.7)))
    fair_share.release("a")
    assert given(fair_share, "c")[1] == same[1]


def test_a_study_that_was_over_before_is_over_at_once(tmp_path: Path) -> None:
    fan, valve = queues(tmp_path, "fan", "valve", trials=1)
    proposal = fan.next(())
    assert proposal is not None
    end(fan, proposal, 0.9)
    # With two slots as well: it takes none.
    queue = FairShare([make_queue(tmp_path / "fan", space(trials=1), "fan"), valve], 2)
    study, first = given(queue, "a")
    assert (study, first.origin) == ("valve", "fan trial 0")
