"""Measurements of raysearch with trials that do nothing; `scale.py` runs each in a process."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from ray.cluster_utils import Cluster
from rich.console import Console
from scaling.measuring import ASKS, Facts, Times, main, peak, timed
from upath import UPath

from raysearch.backend.connection import connect_to_ray
from raysearch.backend.resources import Resources, Share
from raysearch.backend.search_callback import SearchCallback
from raysearch.backend.trainable import RunTrial
from raysearch.backend.tune import Extras, search
from raysearch.data.source import Source
from raysearch.report.live import LiveView
from raysearch.report.trial_tables import TrialTables
from raysearch.report.trials_file import TrialsFile
from raysearch.search.sampler import Sampler
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.manifest import Manifest, library_versions
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.study.space_files import load_space
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch, InlierResult

IDS = ("0", "1", "2")
EPOCHS = 300


# Trials


def nothing(
    context: StudyContext, proposal: Proposal, share: Share, report: Callable[..., None]
) -> None:
    """Write a record of 14 rows, as a trained trial does, and report once."""
    record = complete(context, proposal, random.Random(proposal.number), epochs=1)
    StudyFolder(context.folder).add(record)
    assert record.best is not None
    report({"state": str(record.state), "val_score": record.best.val_score})


def reporting(
    context: StudyContext, proposal: Proposal, share: Share, report: Callable[..., None]
) -> None:
    """Report epochs without a pause, then end as `nothing` does."""
    for number in range(1, context.options.epochs + 1):
        report({**asdict(epoch(number, random.random())), "timesteps_total": number})
    nothing(context, proposal, share, report)


def epoch(number: int, score: float) -> Epoch:
    """Return an epoch as a trial reports it."""
    return Epoch(number, 1.5, 0.5, 1.0, 1.0 - score / 2, 0.5, 0.5 - score / 2, 1e-3, 40.0, score)


def complete(
    context: StudyContext, proposal: Proposal, rng: random.Random, *, epochs: int
) -> Record:
    """Return the record of a completed trial."""
    scores = [{identity: rng.random() for identity in IDS} for _ in context.inliers]
    return Record(
        proposal,
        State.COMPLETE,
        context.config(proposal).signature(),
        context.options.epochs,
        context.seed,
        "host",
        epochs,
        0.5,
        40.0 * epochs,
        30.0,
        rows=tuple(
            InlierResult(spec.name, spec.p, rng.random(), auc, auc)
            for spec, auc in zip(context.inliers, scores, strict=True)
        ),
        history=tuple(epoch(number, rng.random()) for number in range(1, epochs + 1)),
    )


def asha_record(
    context: StudyContext, space: Space, proposal: Proposal, rng: random.Random
) -> Record:
    """Return the record of a trial; each rung prunes three of four trials."""
    for rung in sorted(space.rungs):
        if rng.random() < 3 / 4:
            stopped = complete(context, proposal, rng, epochs=rung)
            return replace(stopped, state=State.PRUNED, rows=())
    return complete(context, proposal, rng, epochs=space.fixed.epochs)


# Studies


def load(trials: int, epochs: int = EPOCHS, scheduler: str = "auto") -> Space:
    """Return the default space for a study of this size, without finalists."""
    space = load_space(Path(__file__).parents[2] / "search_spaces" / "default.yaml")
    strategy = {"trials": trials, "scheduler": scheduler, "finalists": "none"}
    return space.model_copy(
        update={
            "strategy": space.strategy.model_copy(update=strategy),
            "fixed": space.fixed.model_copy(update={"epochs": epochs}),
        }
    )


def begin(folder: Path, space: Space) -> StudyContext:
    """Create a study without recordings, which trials that do nothing do not need."""
    context = StudyContext(UPath(folder), Source(folder, "fan", IDS), "none", space)
    manifest = Manifest(
        machine="fan",
        validation_ids=space.validation_ids,
        test_ids=space.test_ids,
        data=str(folder),
        fingerprint=context.fingerprint,
        space_file="default.yaml",
        space=space.model_dump(mode="json", by_alias=True),
        seed=context.seed,
        command="",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=library_versions(),
    )
    context.study.create(manifest)
    return context


def proposals(count: int) -> list[Proposal]:
    """Return proposals of random configurations."""
    rng = random.Random(0)
    sizes, lams = (32, 64, 128), (0.1, 1.0, 10.0)
    return [
        Proposal(n, Configuration(10 ** rng.uniform(-4, -2.6), rng.choice(sizes), rng.choice(lams)))
        for n in range(count)
    ]


def fill(context: StudyContext, record: Callable[[Proposal], Record], count: int) -> None:
    """Write the proposals and records of ended trials, without the waits of fsync."""
    study = StudyFolder(context.folder)
    with patch.object(os, "fsync", lambda _: None):
        for proposal in proposals(count):
            study.propose(proposal)
            study.add(record(proposal))


# Measurements


class Clock(SearchCallback):
    """Callback that notes the times of reports and of trials' ends."""

    def __init__(self, times: Times) -> None:
        self.times = times

    def on_trial_end(self, study: str, record: Record) -> None:
        """Note the end of a trial."""
        self.times.end()

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Note a report."""
        self.times.report()


def run_search(
    context: StudyContext,
    space: Space,
    resources: Resources,
    run_trial: RunTrial,
    address: str = "",
) -> Times:
    """Run the remaining trials of a study as `raysearch run` does, with its output in a file."""
    study = StudyFolder(context.folder)
    trials = study.trials()
    sampler = Sampler(space, study.journal, trials.proposals, trials.records)
    queues, times = [TrialQueue(context, trials, sampler)], Times()
    with (
        Path(str(context.folder), "log").open("w") as file,
        connect_to_ray(address, resources) as connection,
    ):
        times.begun = time.monotonic()
        callbacks = [Clock(times), LiveView(Console(file=file)), TrialTables(queues)]
        extras = Extras(run_trial=run_trial)
        search(queues, resources, callbacks, connection, extras=extras)
    return times


def raysearch_trials(folder: Path, trials: int, before: int) -> Facts:
    """Measure trials that do nothing."""
    space = load(before + trials)
    context = begin(folder / "study", space)
    rng = random.Random(1)
    fill(context, lambda proposal: complete(context, proposal, rng, epochs=1), before)
    return run_search(context, space, Resources(cpus=1, concurrent=2), nothing).facts()


def raysearch_reports(folder: Path, reporters: int, reports: int) -> Facts:
    """Measure trials that report epochs, all at once."""
    space = load(reporters, reports)
    context = begin(folder / "study", space)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": reporters})
    try:
        all_at_once = Resources(cpus=1, concurrent=reporters)
        times = run_search(context, space, all_at_once, reporting, address=nodes.address)
    finally:
        nodes.shutdown()  # type: ignore[no-untyped-call]
    return times.reporting(reporters)


def raysearch_ask(folder: Path, before: int) -> Facts:
    """Measure a proposal and its result after a number of trials."""
    space = load(before + ASKS)
    context, earlier, rng = begin(folder, space), proposals(before), random.Random(1)
    records = [complete(context, proposal, rng, epochs=1) for proposal in earlier]
    sampler = Sampler(space, folder / "study.journal", earlier, records)

    def step() -> None:
        proposal = sampler.ask()
        assert proposal is not None
        sampler.tell(complete(context, proposal, rng, epochs=1))

    return {"ask_ms": timed(step)}


def resume(folder: Path, before: int, asha: bool) -> Facts:
    """Measure the steps of a resume before the first trial, after a number of trials."""
    space = load(before + 1, scheduler="asha" if asha else "none")
    context, rng = begin(folder, space), random.Random(1)
    fill(
        context,
        lambda proposal: (
            asha_record(context, space, proposal, rng)
            if asha
            else complete(context, proposal, rng, epochs=1)
        ),
        before,
    )
    study, begun = StudyFolder(context.folder), time.perf_counter()
    facts: Facts = {}

    def note(step: str) -> None:
        facts[step] = time.perf_counter() - begun - sum(facts.values())

    earlier, records = study.proposals(), study.records()
    note("read_s")
    Sampler(space, study.journal, earlier, records)
    note("rebuild_s")
    TrialsFile(context.folder, space, records).write()
    note("table_s")
    return facts | {"resume_s": sum(facts.values()), "peak_mb": peak()}


if __name__ == "__main__":
    main(raysearch_trials, raysearch_reports, raysearch_ask, resume)
