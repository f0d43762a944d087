"""Search of a run's studies, from their trials on disk to the end or a spent budget."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.connection import RayConnection
from raysearch.backend.search_callback import SearchCallback
from raysearch.errors import MachineError, StoppedError
from raysearch.pipeline.request import Request
from raysearch.report.trial_tables import TrialTables
from raysearch.report.wording import count
from raysearch.search.budget import Budget
from raysearch.search.trial_queue import TrialQueue, resume_queue
from raysearch.search.warm_start import WarmStart
from raysearch.study.context import StudyContext

logger = logging.getLogger(__name__)

DRIVER_MODULES = (
    # First: TensorBoard's files wait for this library, which imports torch.
    *("tensorboardX", "torch", "raysearch.model.backbone", "sklearn.mixture"),
    *(
        "raysearch.pipeline.fit_detector",
        "raysearch.study.final_test",
        "raysearch.report.clips.collect",
    ),
)
"""Modules that a driver needs after its first result, most of them after the search."""
REPORT_MODULES = ("raysearch.report.html.overview",)
"""Modules that draw reports."""


@dataclass(frozen=True)
class StudyEnd:
    """The end of a study's search.

    Attributes:
        is_finished: True if no trial is left.
        failures: number and reasons of the trials that failed on machines; empty without one.
    """

    is_finished: bool
    failures: str = ""


@dataclass(frozen=True)
class SearchEnd:
    """The end of a search, with that of each study."""

    studies: tuple[StudyEnd, ...]

    @property
    def is_finished(self) -> bool:
        """True if no study has a trial left."""
        return all(study.is_finished for study in self.studies)

    def check_machines(self) -> None:
        """Check that no trial failed on machines; called after all results are written.

        Raises:
            MachineError: trials have no result, for want of a machine that could train them.
        """
        if failures := [study.failures for study in self.studies if study.failures]:
            raise MachineError(f"{'; '.join(failures)}; the same command tries them again")


def execute(
    contexts: Sequence[StudyContext],
    starts: Sequence[WarmStart],
    connection: RayConnection,
    request: Request,
    callbacks: Sequence[SearchCallback],
) -> SearchEnd:
    """Search until the studies are finished or a budget is spent.

    Args:
        contexts: of the studies.
        starts: configurations to try first.
        connection: to the cluster that runs the trials.
        request: of the run.
        callbacks: receive the events of the search.

    Returns:
        The end of the search.

    Raises:
        StoppedError: by Ctrl-C.
        UserError: the cluster or the first trial's process refuses the request.
        MachineError: attempt after attempt failed on machines.
    """
    queues = [_queue(context, starts) for context in contexts]
    if all(queue.is_finished for queue in queues):
        return SearchEnd(tuple(map(_end, queues)))
    for queue in queues:
        if queue.proposals:
            progress = f"{len(queue.records)} of {queue.total} trials are done"
            logger.info("%s: resuming: %s", queue.name, progress)
    budget = Budget(request.time_budget, request.gpu_hours)
    if budget.spent(_device_seconds(queues)) is None:
        _search(queues, connection, request, callbacks, budget)
    for queue in queues:
        if queue.is_finished:
            logger.info("%s: the search has ended: %s", queue.name, queue.stop_reason)
    spent = budget.spent(_device_seconds(queues))
    end = SearchEnd(tuple(map(_end, queues)))
    if spent and not end.is_finished:
        logger.info("%s %s; the same command with more resumes", spent, _progress(queues))
    return end


def _end(queue: TrialQueue) -> StudyEnd:
    failed = queue.set_aside
    if not failed:
        return StudyEnd(queue.is_finished)
    reasons = "; ".join(dict.fromkeys(failed.values()))
    trials = f"{len(failed)} of {count(queue.total, 'trial')}"
    return StudyEnd(False, f"{trials} failed on machines, and not by themselves ({reasons})")


def _search(
    queues: Sequence[TrialQueue],
    connection: RayConnection,
    request: Request,
    callbacks: Sequence[SearchCallback],
    budget: Budget,
) -> None:
    # Imported here: Tune takes as long to import as the recordings take to read.
    from raysearch.backend.tune import Extras, search

    receivers = [*callbacks, TrialTables(queues)]
    with BackgroundImport(DRIVER_MODULES + REPORT_MODULES * request.report) as imports:
        extras = Extras(background_import=imports)
        try:
            is_ended = search(
                queues, request.resources, receivers, connection, budget=budget, extras=extras
            )
        except OSError:
            for queue in queues:  # Any file of a study may be the first to be missed.
                queue.study.check_present()
            raise
        if not is_ended:
            raise StoppedError(f"stopped {_progress(queues)}; the same command resumes from here")


def _queue(context: StudyContext, starts: Sequence[WarmStart]) -> TrialQueue:
    queue = resume_queue(context, context.study.journal)
    queue.sampler.enqueue(starts)
    return queue


def _device_seconds(queues: Sequence[TrialQueue]) -> float:
    return sum(queue.device_seconds for queue in queues)


def _progress(queues: Sequence[TrialQueue]) -> str:
    ended = sum(len(queue.records) for queue in queues)
    return f"with {ended} of {sum(queue.total for queue in queues)} trials done"
