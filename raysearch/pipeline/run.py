"""A run from its checks to the final tests; the same call again resumes."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from upath import UPath

from raysearch.backend.address import check_address
from raysearch.backend.connection import RayConnection, connect_to_ray
from raysearch.backend.resources import check_gpus
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import TrialData
from raysearch.data.index import Index
from raysearch.data.source import Source, make_source
from raysearch.errors import NoResultError, UserError
from raysearch.pipeline.earlier_study import (
    check_ensemble_folder,
    check_same_recordings,
    check_same_space,
    clear_other_space,
    discard_new_study,
    kept_files,
)
from raysearch.pipeline.execute import StudyEnd, execute
from raysearch.pipeline.plan import Plan, PlannedEnsemble, PlannedStudy, plan_run
from raysearch.pipeline.prepare import (
    Prepared,
    check_networks,
    check_recordings,
    create_study,
    read_recordings,
    retry_failed,
    study_lock,
)
from raysearch.pipeline.request import Request
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.wording import few_clips_warning
from raysearch.search.single import single_configuration
from raysearch.search.warm_start import (
    WarmStart,
    check_unseen,
    merge_starts,
    paper_start,
    read_warm_starts,
)
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.winner import read_frozen
from raysearch.training.weights import file_hashes

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
        MachineError: trials failed on machines; the rest has its results.
    """
    run_plan(plan_run(request, machines), request, callbacks, bars)


def run_plan(
    plan: Plan,
    request: Request,
    callbacks: Sequence[SearchCallback] = (),
    bars: ProgressBars = no_progress,
) -> bool:
    """Run or resume the studies and ensembles of a plan.

    Args:
        plan: of the studies.
        request: of the run.
        callbacks: receive the events of the search.
        bars: show the progress of everything but the search.

    Returns:
        True if every search has ended; False if a budget stopped one.

    Raises:
        UserError, StoppedError, NoResultError, MachineError: as `run`.
    """
    starts = merge_starts([read_warm_starts(folder) for folder in request.warm_start])
    plan = replace(plan, studies=_without_choice(plan.studies, starts))
    prepared = _prepare(request, plan.studies)
    for ensemble in plan.ensembles:
        check_ensemble_folder(ensemble, fresh=request.fresh)
    check_gpus(request.resources, request.address)
    check_address(request.address)
    for planned in plan.studies:
        for folder in request.warm_start:
            check_unseen(folder, planned.machine, planned.space.test_ids)
    existing = [study.folder for study in prepared if StudyFolder(study.folder).exists()]
    with ExitStack() as locks:
        for study in prepared:
            locks.enter_context(study_lock(study.folder))
            if study.planned.encoder_from is not None:
                clear_other_space(study.folder, study.space)
            if not (request.fresh and StudyFolder(study.folder).exists()):
                check_same_space(study.folder, study.space, study.files)
        with connect_to_ray(request.address, request.resources, **request.start) as connection:
            studies = _create(prepared, connection, request, bars)
            try:
                # Imported here: a refused command need not wait for Optuna.
                from raysearch.search.optuna_backend import quiet_optuna

                contexts = [context for context, _ in studies]
                with quiet_optuna():
                    end = execute(contexts, starts, connection, request, callbacks)
            except UserError:
                # The process of the first trial or the cluster refused the request.
                for context, _ in studies:
                    new = request.fresh or context.folder not in existing
                    discard_new_study(context.study, new=new)
                raise
        _finish(plan, studies, end.studies, request, bars)
    end.check_machines()
    return end.is_finished


def _without_choice(
    studies: Sequence[PlannedStudy], starts: Sequence[WarmStart]
) -> tuple[PlannedStudy, ...]:
    """Reduce the spaces of studies that no score can judge, see `single_configuration`."""
    return tuple(
        replace(
            study,
            space=single_configuration(study.space, study.machine, starts, study.space_file),
        )
        for study in studies
    )


def _prepare(request: Request, studies: Sequence[PlannedStudy]) -> list[Prepared]:
    """Check studies before anything is written; recordings that they share are indexed once."""
    indices: dict[tuple[Source, tuple[str, ...]], Index] = {}
    prepared = []
    for planned in studies:
        space = planned.space
        if space.is_shared:
            raise UserError(
                f"{planned.space_file}: validation_machines are those of a shared search; add "
                "--shared, or leave them out of the space file"
            )
        if space.strategy.warm_start == "paper":
            paper_start(planned.machine)
        if space.tracking == "mlflow":
            # Only here: MLflow takes seconds to import.
            from raysearch.backend.mlflow_runs import check_tracking

            check_tracking()
        source = make_source(
            request.data,
            planned.machine,
            space.validation_ids,
            space.source_options,
            ground_truth=request.ground_truth,
            allow_defects=request.allow_defects,
        )
        key = source, space.test_ids
        if key not in indices:
            indices[key] = check_recordings(source, space)
        fresh = request.fresh and StudyFolder(planned.folder).exists()
        check_networks(space, thoroughly=fresh)
        files = file_hashes(space.trial_options())
        prepared.append(Prepared(planned, source, indices[key], files))
    return prepared


def _create(
    prepared: Sequence[Prepared], connection: RayConnection, request: Request, bars: ProgressBars
) -> list[tuple[StudyContext, TrialData]]:
    """Read the recordings of all studies while Ray starts, then create or resume the studies."""
    # A study with a winner most likely needs no further search.
    if request.fresh or not all((study.folder / "frozen.json").is_file() for study in prepared):
        connection.start()
    opened: dict[Source, TrialData] = {}
    for study in prepared:
        if study.source not in opened:
            data = opened[study.source] = read_recordings(study, bars)
            logger.info("%s: %s; space %s", data.machine, _summary(data), study.planned.space_file)
            if few := few_clips_warning(data.validation.clips):
                logger.warning("%s: %s", data.machine, few)
            for defect in data.defects:
                logger.info("left out: %s: %s", defect.path, defect.reason)
        if not request.fresh:
            check_same_recordings(study.folder, opened[study.source].fingerprint)
    if connection.is_started:
        # Optuna is imported while Ray starts.
        import raysearch.search.sampler  # noqa: F401

        connection.check()
    studies = []
    for study in prepared:
        data = opened[study.source]
        earlier = StudyFolder(study.folder)
        files = study.files if request.fresh else kept_files(earlier, study.files)
        context = StudyContext(study.folder, study.source, data.fingerprint, study.space, files)
        create_study(
            context,
            data,
            space_file=study.planned.space_file,
            command=request.command,
            fresh=request.fresh,
        )
        retry_failed(context.study, request)
        if study.planned.encoder_from is not None:
            _copy_encoder(study.planned.encoder_from, context.study)
        studies.append((context, data))
    return studies


def _copy_encoder(origin: UPath, study: StudyFolder) -> None:
    """Copy the encoder of a study's winner, so that a trial of the same encoder trains nothing."""
    winner = read_frozen(origin)
    assert winner is not None, origin
    study.copy_encoder(StudyFolder(origin), winner.encoder)


def _summary(data: TrialData) -> str:
    others = sum(len(store.clips) for store in data.others)
    return (
        f"{len(data.target.clips)} training clips of {len(data.ids)} IDs, {others} of "
        f"{len(data.others)} other machine types, {len(data.validation.clips)} validation clips"
    )


def _finish(
    plan: Plan,
    studies: Sequence[tuple[StudyContext, TrialData]],
    ends: Sequence[StudyEnd],
    request: Request,
    bars: ProgressBars,
) -> None:
    """Finish every study, also if others cannot be finished, then the ensembles of them."""
    # Imported here: modules that train, score and draw would delay the first trial by seconds.
    from raysearch.pipeline.drawing import draw_report
    from raysearch.pipeline.finish import SearchConclusion, finish_study

    failures: dict[UPath, UserError | NoResultError] = {}
    for planned, (context, data), end in zip(plan.studies, studies, ends, strict=True):
        final = request.final and planned.final
        ending = replace(
            request.ending, final=final, is_finished=end.is_finished, failures=end.failures
        )
        try:
            finish_study(SearchConclusion(context, data), context, data, ending, bars)
        except (UserError, NoResultError) as error:
            failures[context.folder] = error
    for ensemble in plan.ensembles:
        if not all(end.is_finished for end in ends):
            logger.info("%s: no ensemble yet, as its members are not finished", ensemble.folder)
        elif not failures.keys() & set(ensemble.members.values()):
            try:
                _make_ensemble(ensemble, request, bars)
            except UserError as error:
                failures[ensemble.folder] = error
    if len(studies) > 1 and request.report:
        draw_report(request.out, _write_overview)
    if len(failures) == 1 and len(studies) == 1:
        raise next(iter(failures.values()))
    if failures:
        reasons = [f"{folder.name}: {error}" for folder, error in failures.items()]
        raise NoResultError("; ".join(reasons))


def _make_ensemble(planned: PlannedEnsemble, request: Request, bars: ProgressBars) -> None:
    from raysearch.pipeline.ensemble import EnsembleRequest, make_ensemble

    make_ensemble(
        EnsembleRequest(planned, request.ending, request.data, request.fresh, are_locked=True), bars
    )


def _write_overview(folder: UPath) -> UPath:
    # Imported here: a broken library costs only the report.
    from raysearch.report.html.overview import write_overview

    return write_overview(folder)
