"""One run: recordings in, tested best configurations out; the same call again resumes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from upath import UPath

from raysearch.backend.address import check_address
from raysearch.backend.joining import Joining, joining
from raysearch.backend.resources import check_gpus
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import TrialData, source_of
from raysearch.errors import NoResultError, UserError
from raysearch.pipeline.execute import execute
from raysearch.pipeline.prepare import (
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
from raysearch.pipeline.request import Request
from raysearch.report.progress import say
from raysearch.search.warm_start import paper_start, starts_of, together
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder, study_name
from raysearch.study.space import Space, find_space, load_space


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
                # Now: who is refused before need not wait for Optuna.
                from raysearch.search.optuna_backend import quiet_optuna

                contexts = [context for context, _ in studies]
                with quiet_optuna():
                    execute(contexts, starts, cluster, request, console, callbacks)
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
        from raysearch.backend.mlflow_runs import check_tracking

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


def _conclude(
    studies: Sequence[tuple[StudyContext, TrialData]], request: Request, console: Console
) -> None:
    """Concludes every study; one without a result does not keep the others from theirs."""
    # Now: what trains, scores and draws takes seconds to import, in which trials were to begin.
    from raysearch.pipeline.finish import conclude, draw

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
