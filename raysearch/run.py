"""One run: recordings in, tested best configurations out; the same call again resumes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from upath import UPath

from raysearch.audio.dataset import TrialData, source_of
from raysearch.errors import NoResultError, StoppedError, UserError
from raysearch.opening import (
    Prepared,
    alone,
    begin,
    check_network,
    check_recordings,
    check_same_recordings,
    check_same_space,
    read_recordings,
    withdraw,
)
from raysearch.preloading import Preloading
from raysearch.report.live import LiveView
from raysearch.report.progress import say
from raysearch.report.trial_tables import TrialTables
from raysearch.search.address import check_address
from raysearch.search.agenda import Agenda, take_up
from raysearch.search.budget import Budget
from raysearch.search.context import StudyContext
from raysearch.search.joining import Joining, joining
from raysearch.search.resources import Resources, check_gpus
from raysearch.search.search_callback import SearchCallback
from raysearch.search.space import Space, find_space, load_space
from raysearch.search.study import StudyFolder, study_name
from raysearch.search.warm import Start, paper_start, starts_of, together
from raysearch.storage import Place

LATER = (
    # TensorBoard's files come first, whose library imports torch.
    *("tensorboardX", "torch", "raysearch.model.backbone", "sklearn.mixture"),
    *("raysearch.search.detector", "raysearch.search.final", "raysearch.evidence.gather"),
)
"""Modules that a driver needs from its first result on, most of them when the search has ended."""
REPORT = ("raysearch.report.html.overview",)
"""What it needs to draw reports."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for; None leaves it to the space file or the machine.

    Attributes:
        channel: of the recordings, from 0.
        name: of the run's folder.
        time_budget: in s.
        gpu_hours: of all studies together.
        warm_start: studies, or folders of some, whose best configurations are tried first.
        address: of the Ray cluster to join; empty starts one on this machine.
        dashboard: of a Ray that is started on this machine.
        report: whether report.html is drawn.
        keep_checkpoints: of the trials that did not win.
        command: as it was typed, for study.json and the ledger.
    """

    data: Place
    out: UPath
    resources: Resources
    space: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    seed: int | None = None
    channel: int | None = None
    name: str | None = None
    ground_truth: Place | None = None
    time_budget: float | None = None
    gpu_hours: float | None = None
    warm_start: tuple[UPath, ...] = ()
    allow_defects: bool = False
    fresh: bool = False
    final: bool = True
    address: str = ""
    dashboard: bool = True
    report: bool = True
    keep_checkpoints: bool = False
    command: str = ""


def run(
    request: Request,
    machines: Sequence[str],
    console: Console,
    callbacks: Sequence[SearchCallback] = (),
) -> None:
    """Runs or resumes the studies of some machine types and writes all that comes out of them.

    Args:
        request: what was asked for.
        machines: machine types, a study each.
        console: for progress and results.
        callbacks: told of the search, after the live view.

    Raises:
        UserError: bad input; nothing was written.
        StoppedError: by Ctrl-C.
        NoResultError: every trial of a study failed; the others have theirs.
    """
    several = len(machines) > 1
    prepared = [_prepare(request, machine, several=several) for machine in machines]
    check_gpus(request.resources, request.address)
    check_address(request.address)
    starts = together([starts_of(place) for place in request.warm_start])
    known = [each.folder for each in prepared if StudyFolder(each.folder).exists()]
    with ExitStack() as held:
        for each in prepared:
            held.enter_context(alone(each.folder))
            if not (request.fresh and StudyFolder(each.folder).exists()):
                check_same_space(each.folder, each.space)
        with joining(request.address, request.resources, dashboard=request.dashboard) as cluster:
            studies = _begin(prepared, cluster, request, console)
            try:
                contexts = [context for context, _ in studies]
                _search(contexts, starts, cluster, request, console, callbacks)
            except UserError:
                # The process of the first trial or the cluster refused what was asked.
                for context, _ in studies:
                    new = request.fresh or context.folder not in known
                    withdraw(context.study, new=new)
                raise
        _conclude(studies, request, console)


def _prepare(request: Request, machine: str, *, several: bool) -> Prepared:
    """Check all that can be checked of a study before anything is written."""
    path = find_space(machine, request.space)
    space = _override(load_space(path), request)
    if space.strategy.warm_start == "paper":
        paper_start(machine)
    if space.tracking == "mlflow":
        # Only here: MLflow takes seconds to import.
        from raysearch.search.mlflow_runs import check_tracking

        check_tracking()
    source = source_of(
        request.data,
        machine,
        space.validation_ids,
        space.fixed,
        ground_truth=request.ground_truth,
        allow_defects=request.allow_defects,
    )
    index = check_recordings(source, space)
    folder = request.out / study_name(machine, request.name, several=several)
    check_network(space.fixed, thoroughly=request.fresh and StudyFolder(folder).exists())
    return Prepared(folder, path, space, source, index)


def _begin(
    prepared: Sequence[Prepared], cluster: Joining, request: Request, console: Console
) -> list[tuple[StudyContext, TrialData]]:
    """Read the recordings of all studies while Ray starts, then begin all of them."""
    # One that has its winner has, most likely, nothing left to search.
    if request.fresh or not all((each.folder / "frozen.json").is_file() for each in prepared):
        cluster.begin()
    recordings = []
    for each in prepared:
        data = read_recordings(each, console)
        say(console, f"{data.machine}: {_summary(data)}; space {each.space_file}")
        for defect in data.defects:
            say(console, f"left out: {defect.path}: {defect.reason}")
        if not request.fresh:
            check_same_recordings(each.folder, data.fingerprint)
        recordings.append(data)
    if cluster.has_begun:
        # Optuna is imported while Ray starts.
        import raysearch.search.sampler  # noqa: F401

        cluster.check()
    return [
        (begin(each, data, command=request.command, fresh=request.fresh), data)
        for each, data in zip(prepared, recordings, strict=True)
    ]


def _override(space: Space, request: Request) -> Space:
    fixed: dict[str, Any] = {"epochs": request.epochs, "channel": request.channel}
    strategy: dict[str, Any] = {"trials": request.trials, "seed": request.seed}
    return space.model_copy(
        update={
            "fixed": space.fixed.model_copy(update=_given(fixed)),
            "strategy": space.strategy.model_copy(update=_given(strategy)),
        }
    )


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _summary(data: TrialData) -> str:
    others = sum(len(store.clips) for store in data.others)
    return (
        f"{len(data.target.clips)} training clips of {len(data.ids)} IDs, {others} of "
        f"{len(data.others)} other machine types, {len(data.validation.clips)} validation clips"
    )


def _agenda(context: StudyContext, starts: Sequence[Start]) -> Agenda:
    agenda = take_up(context, context.study.journal)
    agenda.sampler.enqueue(starts)
    return agenda


def _search(
    contexts: Sequence[StudyContext],
    starts: Sequence[Start],
    cluster: Joining,
    request: Request,
    console: Console,
    callbacks: Sequence[SearchCallback],
) -> None:
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
            from raysearch.search.tuning import search

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


def _device_seconds(agendas: Sequence[Agenda]) -> float:
    return sum(agenda.device_seconds for agenda in agendas)


def _done(agendas: Sequence[Agenda]) -> str:
    done = sum(len(agenda.records) for agenda in agendas)
    return f"with {done} of {sum(agenda.total for agenda in agendas)} trials done"


def _conclude(
    studies: Sequence[tuple[StudyContext, TrialData]], request: Request, console: Console
) -> None:
    """Concludes every study; one without a result does not keep the others from theirs."""
    # Now: what trains, scores and draws takes seconds to import, in which trials were to begin.
    from raysearch.conclusion import conclude, draw

    fruitless = []
    for context, data in studies:
        try:
            conclude(
                context,
                data,
                final=request.final,
                report=request.report,
                keep_checkpoints=request.keep_checkpoints,
                command=request.command,
                console=console,
            )
        except NoResultError as error:
            which = f"{context.source.machine}: " if len(studies) > 1 else ""
            fruitless.append(f"{which}{error}")
    if len(studies) > 1 and request.report:
        draw(request.out, console, _write_overview)
    if fruitless:
        raise NoResultError("; ".join(fruitless))


def _write_overview(folder: UPath) -> UPath:
    # Imported here, where a library that is broken costs the picture only.
    from raysearch.report.html.overview import write_overview

    return write_overview(folder)
