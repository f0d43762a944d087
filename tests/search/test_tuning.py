"""What Tune is handed: proposals that fit together with what ran before and what runs now."""

from dataclasses import asdict
from pathlib import Path

import pytest
from upath import UPath

from raysearch import checkpoint
from raysearch.audio.dataset import Source
from raysearch.search.sampler import Sampler
from raysearch.search.space import Space
from raysearch.search.study import Proposal, State, StudyFolder
from raysearch.search.tuning import _Searcher
from raysearch.search.worker import Job
from raysearch.train import Epoch
from tests.records import complete, make_space, row

PROPOSALS = [Proposal(number, 1e-3 * (number + 1), 32, 1.0) for number in range(3)]


def make_job(folder: Path, space: Space) -> Job:
    study = StudyFolder(UPath(folder))
    study.begin({"machine": "valve"})
    source = Source(folder, "valve", ("0",))
    return Job(study.path, source, "data", space.fixed, space.search.specs, seed=0)


def epoch(number: int, loss: float) -> Epoch:
    return Epoch(number, loss, loss, 0.0, loss, loss, 0.0, 1e-3, 1.0)


def interrupt(job: Job, proposal: Proposal, losses: list[float]) -> None:
    """Leaves a trial as a killed search does: given out, with a checkpoint."""
    StudyFolder(job.folder).propose(proposal)
    facts = {"history": [asdict(epoch(n, x)) for n, x in enumerate(losses, 1)], "resumes": []}
    folder = StudyFolder(job.folder).encoder(job.config(proposal).signature())
    checkpoint.save(folder / "last.safetensors", {}, facts)


@pytest.fixture
def space() -> Space:
    plain = make_space()
    strategy = plain.strategy.model_copy(
        update={"trials": 9, "scheduler": "asha", "grace": 2, "sampler": "random"}
    )
    return plain.model_copy(update={"strategy": strategy})


def test_a_resumed_search_knows_the_rungs_of_the_trials_that_it_takes_up(
    tmp_path: Path, space: Space
) -> None:
    job = make_job(tmp_path / "study", space)
    interrupt(job, PROPOSALS[0], [0.9, 0.5, 0.4])
    interrupt(job, PROPOSALS[1], [0.9])
    sampler = Sampler(space, tmp_path / "journal", PROPOSALS[:2])
    searcher = _Searcher(job, sampler, 9)
    numbers = [searcher.suggest(name) for name in "ab"]
    assert [found["number"] for found in numbers if isinstance(found, dict)] == [0, 1]
    assert not sampler.report(0, epoch(4, 0.1))
    # The other had come to 0.5 at that rung.
    assert sampler.report(1, epoch(2, 0.6))


def test_two_trials_of_one_encoder_run_one_after_the_other(tmp_path: Path, space: Space) -> None:
    job = make_job(tmp_path / "study", space)
    same = [
        Proposal(0, 0.001, 32, 1.0, "gmm", 1),
        Proposal(1, 0.001, 32, 1.0, "lof", 4),
        Proposal(2, 0.002, 32, 1.0, "gmm", 1),
    ]
    for proposal in same:
        StudyFolder(job.folder).propose(proposal)
    sampled = space.model_copy(
        update={"strategy": space.strategy.model_copy(update={"inlier": "sample"})}
    )
    searcher = _Searcher(job, Sampler(sampled, tmp_path / "journal", same), 3)

    def given(trial: str) -> object:
        found = searcher.suggest(trial)
        return found["number"] if isinstance(found, dict) else found

    assert given("a") == 0
    assert given("b") is None
    searcher.on_trial_complete("a")
    assert given("b") == 1
    assert given("c") == 2
    assert given("d") == "FINISHED"


def test_a_trial_that_has_its_record_is_not_taken_up(tmp_path: Path, space: Space) -> None:
    job = make_job(tmp_path / "study", space)
    StudyFolder(job.folder).propose(PROPOSALS[0])
    record = complete(PROPOSALS[0], row("gmm", 1, 0.7))
    assert record.state is State.COMPLETE
    searcher = _Searcher(job, Sampler(space, tmp_path / "journal", PROPOSALS[:1], [record]), 1)
    assert searcher.suggest("a") == "FINISHED"
