"""The search of some studies, shown and recorded while it runs."""

from collections.abc import Sequence

from rich.console import Console

from raysearch.backend.joining import Joining
from raysearch.backend.preloading import Preloading
from raysearch.backend.search_callback import SearchCallback
from raysearch.errors import StoppedError
from raysearch.pipeline.request import Request
from raysearch.report.live import LiveView
from raysearch.report.progress import say
from raysearch.report.trial_tables import TrialTables
from raysearch.search.budget import Budget
from raysearch.search.trial_queue import Agenda, take_up
from raysearch.search.warm_start import Start
from raysearch.study.context import StudyContext

LATER = (
    # TensorBoard's files come first, whose library imports torch.
    *("tensorboardX", "torch", "raysearch.model.backbone", "sklearn.mixture"),
    *(
        "raysearch.pipeline.fit_detector",
        "raysearch.study.final_test",
        "raysearch.report.clips.collect",
    ),
)
"""Modules that a driver needs from its first result on, most of them when the search has ended."""
REPORT = ("raysearch.report.html.overview",)
"""What it needs to draw reports."""


def execute(
    contexts: Sequence[StudyContext],
    starts: Sequence[Start],
    cluster: Joining,
    request: Request,
    console: Console,
    callbacks: Sequence[SearchCallback],
) -> None:
    """Search until the studies are over or a budget is spent.

    Args:
        contexts: of the studies.
        starts: that are tried first.
        cluster: that runs the trials.
        request: what was asked for.
        console: for the live view.
        callbacks: told of the search, after the live view.

    Raises:
        StoppedError: by Ctrl-C.
        UserError: the cluster or the first trial's process refuses what was asked.
    """
    agendas = [_agenda(context, starts) for context in contexts]
    budget = Budget(request.time_budget, request.gpu_hours)
    with TrialTables(agendas) as tables, LiveView(console, agendas, budget) as view:
        if all(agenda.over for agenda in agendas):
            return
        for agenda in agendas:
            if agenda.proposals:
                found = f"{len(agenda.records)} of {agenda.total} trials are done"
                say(console, f"{agenda.name}: resuming: {found}")
        ended = budget.spent(_device_seconds(agendas)) is not None
        if not ended:
            # Now: to import Tune takes as long as to read the recordings.
            from raysearch.backend.tune import search

            with Preloading(LATER + REPORT * request.report) as later:
                ended = search(
                    agendas,
                    request.resources,
                    [view, tables, *callbacks],
                    cluster,
                    budget=budget,
                    later=later,
                )
    if not ended:
        raise StoppedError(f"stopped {_done(agendas)}; the same command goes on from here")
    for agenda in agendas:
        if agenda.over:
            say(console, f"{agenda.name}: the search has ended: {agenda.stop_reason}")
    why = budget.spent(_device_seconds(agendas))
    if why and not all(agenda.over for agenda in agendas):
        way_on = "the same command with more goes on from here"
        say(console, f"{why} {_done(agendas)}; {way_on}")


def _agenda(context: StudyContext, starts: Sequence[Start]) -> Agenda:
    agenda = take_up(context, context.study.journal)
    agenda.sampler.enqueue(starts)
    return agenda


def _device_seconds(agendas: Sequence[Agenda]) -> float:
    return sum(agenda.device_seconds for agenda in agendas)


def _done(agendas: Sequence[Agenda]) -> str:
    done = sum(len(agenda.records) for agenda in agendas)
    return f"with {done} of {sum(agenda.total for agenda in agendas)} trials done"
