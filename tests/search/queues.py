"""Queues of studies without training, for tests of the order of trials."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from upath import UPath

from raysearch.data.source import Source
from raysearch.search.sampler import Sampler
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record
from raysearch.study.space import Space
from raysearch.training.outcome import Epoch
from tests.files import put_checkpoint
from tests.records import complete, failed, make_manifest, make_space, row


def make_context(folder: Path, space: Space, machine: str = "valve") -> StudyContext:
    study = StudyFolder(UPath(folder))
    study.create(make_manifest(machine=machine))
    source = Source(folder, machine, ("0",))
    return StudyContext(study.path, source, "data", space)


def make_queue(folder: Path, space: Space, machine: str = "valve") -> TrialQueue:
    """Build a queue from a folder, as a run does."""
    context = make_context(folder, space, machine)
    trials = context.study.trials()
    sampler = Sampler(space, context.study.journal, trials.searched, trials.records)
    return TrialQueue(context, trials, sampler)


def space(**strategy: object) -> Space:
    defaults: Mapping[str, object] = {
        "trials": 4, "sampler": "random", "finalists": "none", "scheduler": "none"
    }  # fmt: skip
    return make_space(strategy={**defaults, **strategy})


def end(queue: TrialQueue, proposal: Proposal, score: float | None = 0.5) -> Record:
    record = failed(proposal) if score is None else complete(proposal, row("gmm", 1, score))
    queue.study.add(record)
    if score is not None:
        put_checkpoint(queue.study.encoder(record.encoder) / "best.safetensors")
    queue.tell(record)
    return record


def epoch(number: int, score: float | None = None) -> Epoch:
    return Epoch(number, 1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 1e-3, 10.0, score)


def interrupt(queue: TrialQueue, proposal: Proposal, scores: Sequence[float | None]) -> None:
    """Leave the checkpoint of a killed trial."""
    facts = {"history": [asdict(epoch(n, s)) for n, s in enumerate(scores, 1)], "resumes": []}
    put_checkpoint(queue.context.encoder(proposal) / "last.safetensors", facts=facts)
