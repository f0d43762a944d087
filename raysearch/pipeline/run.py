"""A run from its checks to the final tests; the same call again resumes."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from upath import UPath

from raysearch.backend.address import check_address
from raysearch.backend.connection import RayConnection, connect_to_ray
from raysearch.backend.resources import check_gpus
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import TrialData, make_source
from raysearch.errors import NoResultError, UserError
from raysearch.pipeline.execute import execute
from raysearch.pipeline.prepare import (
    Prepared,
    check_networks,
    check_recordings,
    check_same_recordings,
    check_same_space,
    create_study,
    discard_new_study,
    read_recordings,
    study_lock,
)
from raysearch.pipeline.request import Request
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.search.warm_start import merge_starts, paper_start, read_warm_starts
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder, study_name
from raysearch.study.space import Space, find_space, load_space

logger = logging.getLogger(__name__)


def run(
    request: Request,
    machines: Sequence[str],
    callbacks: Sequence[SearchCallback] = (),
    bars: ProgressBars = no_progress,
) -> None:
    """Run or resume the studies of some machine types, up to their final tests and reports.

    Args:
        request: of the run.
        machines: machine types; each has a study.
        callbacks: receive the events of the search.
        bars: show the progress of everything but the search.

    Raises:
        UserError: bad input; nothing was written.
        StoppedError: by Ctrl-C.
        NoResultError: every trial of a study failed; the other studies have their results.
    """
    several = len(machines) > 1
    prepared = [_prepare(request, machine, several=several) for machine in machines]
    check_gpus(request.resources, request.address)
    check_address(request.address)
    starts = merge_starts([read_warm_starts(folder) for folder in request.warm_start])
    existing = [study.folder for study in prepared if StudyFolder(study.folder).exists()]
    with ExitStack() as locks:
        for study in prepared:
            locks.enter_context(study_lock(study.folder))
            if not (request.fresh and StudyFolder(study.folder).exists()):
                check_same_space(study.folder, study.space)
        with connect_to_ray(
            request.address, request.resources, dashboard=request.dashboard
        ) as connection:
            studies = _create(prepared, connection, request, bars)
            try:
                # Imported here: a refused command need not wait for Optuna.
                from raysearch.search.optuna_backend import quiet_optuna

                contexts = [context for context, _ in studies]
                with quiet_optuna():
                    execute(contexts, starts, connection, request, callbacks)
            except UserError:
                # The process of the first trial or the cluster refused the request.
                for context, _ in studies:
                    new = request.fresh or context.folder not in existing
                    discard_new_study(context.study, new=new)
                raise
        _finish(studies, request, bars)


def _prepare(request: Request, machine: str, *, several: bool) -> Prepared:
    """Check a study before anything is written."""
    path = find_space(machine, request.space)
    space = _override(load_space(path), request)
    if space.strategy.warm_start == "paper":
        paper_start(machine)
    if space.tracking == "mlflow":
        # Only here: MLflow takes seconds to import.
        from raysearch.backend.mlflow_runs import check_tracking

        check_tracking()
    source = make_source(
        request.data,
        machine,
        space.validation_ids,
        space.source_options,
        ground_truth=request.ground_truth,
        allow_defects=request.allow_defects,
    )
    index = check_recordings(source, space)
    folder = request.out / study_name(machine, request.name, several=several)
    check_networks(space, thoroughly=request.fresh and StudyFolder(folder).exists())
    return Prepared(folder, path, space, source, index)


def _create(
    prepared: Sequence[Prepared], connection: RayConnection, request: Request, bars: ProgressBars
) -> list[tuple[StudyContext, TrialData]]:
    """Read the recordings of all studies while Ray starts, then create or resume the studies."""
    # A study with a winner most likely needs no further search.
    if request.fresh or not all((study.folder / "frozen.json").is_file() for study in prepared):
        connection.start()
    recordings = []
    for study in prepared:
        data = read_recordings(study, bars)
        logger.info("%s: %s; space %s", data.machine, _summary(data), study.space_file)
        for defect in data.defects:
            logger.info("left out: %s: %s", defect.path, defect.reason)
        if not request.fresh:
            check_same_recordings(study.folder, data.fingerprint)
        recordings.append(data)
    if connection.is_started:
        # Optuna is imported while Ray starts.
        import raysearch.search.sampler  # noqa: F401

        connection.check()
    return [
        (create_study(study, data, command=request.command, fresh=request.fresh), data)
        for study, data in zip(prepared, recordings, strict=True)
    ]


def _override(space: Space, request: Request) -> Space:
    fixed: dict[str, Any] = {"epochs": request.epochs, "channel": request.channel}
    strategy: dict[str, Any] = {"trials": request.trials, "seed": request.seed}
    return space.model_copy(
        update={
            "fixed": space.fixed.model_copy(update=_without_none(fixed)),
            "strategy": space.strategy.model_copy(update=_without_none(strategy)),
        }
    )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _summary(data: TrialData) -> str:
    others = sum(len(store.clips) for store in data.others)
    return (
        f"{len(data.target.clips)} training clips of {len(data.ids)} IDs, {others} of "
        f"{len(data.others)} other machine types, {len(data.validation.clips)} validation clips"
    )


def _finish(
    studies: Sequence[tuple[StudyContext, TrialData]], request: Request, bars: ProgressBars
) -> None:
    """Finish every study, also if other studies have no result."""
    # Imported here: modules that train, score and draw would delay the first trial by seconds.
    from raysearch.pipeline.finish import draw_report, finish_study

    without_result = []
    for context, data in studies:
        try:
            finish_study(context, data, request, bars)
        except NoResultError as error:
            study = f"{context.source.machine}: " if len(studies) > 1 else ""
            without_result.append(f"{study}{error}")
    if len(studies) > 1 and request.report:
        draw_report(request.out, _write_overview)
    if without_result:
        raise NoResultError("; ".join(without_result))


def _write_overview(folder: UPath) -> UPath:
    # Imported here: a broken library costs only the report.
    from raysearch.report.html.overview import write_overview

    return write_overview(folder)
