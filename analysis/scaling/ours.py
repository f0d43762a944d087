"""raysearch's own search, with trials that do nothing, and what else of it grows with trials."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from measuring import ASKS, Facts, Times, main, peak, timed
from ray.cluster_utils import Cluster
from rich.console import Console
from upath import UPath

from raysearch.backend.connection import connect_to_ray
from raysearch.backend.resources import Resources, Share
from raysearch.backend.search_callback import SearchCallback
from raysearch.backend.trainable import RunTrial
from raysearch.backend.tune import Extras, search
from raysearch.config import Configuration
from raysearch.data.dataset import Source
from raysearch.report.live import LiveView
from raysearch.report.trial_tables import TrialTables
from raysearch.report.trials_file import TrialsFile
from raysearch.search.sampler import Sampler
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.manifest import Manifest, library_versions
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space, load_space
from raysearch.training.outcome import Epoch, InlierResult

IDS = ("0", "1", "2")
EPOCHS = 300


# Trials


def nothing(
    context: StudyContext, proposal: Proposal, share: Share, report: Callable[..., None]
) -> None:
    """A trial that writes a record of 14 rows, as if it had trained, and reports once."""
    record = complete(context, proposal, random.Random(proposal.number), epochs=1)
    StudyFolder(context.folder).add(record)
    assert record.best is not None
    report({"state": str(record.state), "val_score": record.best.val_score})


def reporting(
    context: StudyContext, proposal: Proposal, share: Share, report: Callable[..., None]
) -> None:
    """A trial that reports epochs as fast as it can."""
    for number in range(1, context.options.epochs + 1):
        report({**asdict(epoch(number, random.random())), "timesteps_total": number})
    nothing(context, proposal, share, report)


def epoch(number: int, score: float) -> Epoch:
    """An epoch as trials report it."""
    return Epoch(number, 1.5, 0.5, 1.0, 1.0 - score / 2, 0.5, 0.5 - score / 2, 1e-3, 40.0, score)


def complete(
    context: StudyContext, proposal: Proposal, rng: random.Random, *, epochs: int
) -> Record:
    """The record of a trial that was finished."""
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


def as_asha_leaves_it(
    context: StudyContext, space: Space, proposal: Proposal, rng: random.Random
) -> Record:
    """The record of a trial of which one in four goes on at each rung, with its history."""
    for rung in sorted(space.rungs):
        if rng.random() < 3 / 4:
            given_up = complete(context, proposal, rng, epochs=rung)
            return replace(given_up, state=State.PRUNED, rows=())
    return complete(context, proposal, rng, epochs=space.fixed.epochs)


# Studies


def load(trials: int, epochs: int = EPOCHS, scheduler: str = "auto") -> Space:
    """The default space, with strategy and length of a study of so many trials."""
    space = load_space(Path(__file__).parents[2] / "search_spaces" / "default.yaml")
    strategy = {"trials": trials, "scheduler": scheduler, "finalists": "none"}
    return space.model_copy(
        update={
            "strategy": space.strategy.model_copy(update=strategy),
            "fixed": space.fixed.model_copy(update={"epochs": epochs}),
        }
    )


def begin(folder: Path, space: Space) -> StudyContext:
    """Begin a study without recordings, which such trials do not need."""
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
    """So many configurations, drawn evenly."""
    rng = random.Random(0)
    sizes, lams = (32, 64, 128), (0.1, 1.0, 10.0)
    return [
        Proposal(n, Configuration(10 ** rng.uniform(-4, -2.6), rng.choice(sizes), rng.choice(lams)))
        for n in range(count)
    ]


def fill(context: StudyContext, made: Callable[[Proposal], Record], count: int) -> None:
    """Writes a study of so many finished trials; nothing of it is measured, so nothing waits."""
    study = StudyFolder(context.folder)
    with patch.object(os, "fsync", lambda _: None):
        for proposal in proposals(count):
            study.propose(proposal)
            study.add(made(proposal))


# What is measured


class Clock(SearchCallback):
    """Notes when trials report and end."""

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
    """Runs what a study has left to do, as `raysearch run` does it; its lines go to a file."""
    study = StudyFolder(context.folder)
    known = study.known()
    sampler = Sampler(space, study.journal, known.proposals, known.records)
    queues, times = [TrialQueue(context, known, sampler)], Times()
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
    """Trials that do nothing, through raysearch's own search."""
    space = load(before + trials)
    context = begin(folder / "study", space)
    rng = random.Random(1)
    fill(context, lambda proposal: complete(context, proposal, rng, epochs=1), before)
    return run_search(context, space, Resources(cpus=1, concurrent=2), nothing).facts()


def raysearch_reports(folder: Path, reporters: int, reports: int) -> Facts:
    """Trials that report epochs, all at once, through raysearch's own search."""
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
    """The time of a proposal after so many trials, and of taking its result."""
    space = load(before + ASKS)
    context, known, rng = begin(folder, space), proposals(before), random.Random(1)
    done = [complete(context, proposal, rng, epochs=1) for proposal in known]
    sampler = Sampler(space, folder / "study.journal", known, done)

    def step() -> None:
        proposal = sampler.ask()
        assert proposal is not None
        sampler.tell(complete(context, proposal, rng, epochs=1))

    return {"ask_ms": timed(step)}


def resume(folder: Path, before: int, asha: bool) -> Facts:
    """What a run does before its first trial, where so many have ended."""
    space = load(before + 1, scheduler="asha" if asha else "none")
    context, rng = begin(folder, space), random.Random(1)
    fill(
        context,
        lambda proposal: (
            as_asha_leaves_it(context, space, proposal, rng)
            if asha
            else complete(context, proposal, rng, epochs=1)
        ),
        before,
    )
    study, begun = StudyFolder(context.folder), time.perf_counter()
    facts: Facts = {}

    def took(what: str) -> None:
        facts[what] = time.perf_counter() - begun - sum(facts.values())

    given, done = study.proposals(), study.records()
    took("read_s")
    Sampler(space, study.journal, given, done)
    took("rebuild_s")
    TrialsFile(context.folder, IDS, done).write()
    took("table_s")
    return facts | {"resume_s": sum(facts.values()), "peak_mb": peak()}


if __name__ == "__main__":
    main(raysearch_trials, raysearch_reports, raysearch_ask, resume)
