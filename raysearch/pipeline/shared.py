"""A shared search: one configuration for several machine types, frozen, then tested on others.

The validation machines alone are read until the configuration is frozen. The same call resumes.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from upath import UPath

from raysearch.backend.connection import connect_to_ray
from raysearch.backend.search_callback import SearchCallback
from raysearch.data.dataset import TrialData
from raysearch.errors import NoResultError, UserError
from raysearch.pipeline.drawing import LoadDetector, collect_single_clips, draw_report
from raysearch.pipeline.earlier_study import check_same_space, discard_new_study
from raysearch.pipeline.execute import execute
from raysearch.pipeline.final import next_opening
from raysearch.pipeline.finish import announce_best, drop_losers, no_result
from raysearch.pipeline.prepare import study_lock
from raysearch.pipeline.request import Request
from raysearch.pipeline.shared_final import run_shared_test, train_test_machines
from raysearch.pipeline.shared_prepare import create_shared, prepare_shared
from raysearch.report.clips.shown import evidence_folder, machine_home
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.trials_file import TrialsFile
from raysearch.report.wording import settings
from raysearch.storage import make_folder, remove_tree
from raysearch.study.confidence import read_confidence, write_confidence
from raysearch.study.context import StudyContext
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import FinalRequest
from raysearch.study.machines import SHARED
from raysearch.study.ranking import Ranking, caveats, rank
from raysearch.study.winner import Winner, choose_winner, freeze_winner, read_frozen

if TYPE_CHECKING:
    from raysearch.detector import Detector

logger = logging.getLogger(__name__)


def run_shared(
    request: Request,
    callbacks: Sequence[SearchCallback] = (),
    bars: ProgressBars = no_progress,
) -> None:
    """Run or resume a shared search, up to its final test and report.

    Args:
        request: of the run.
        callbacks: receive the events of the search.
        bars: show the progress of everything but the search.

    Raises:
        UserError: bad input; nothing was written.
        StoppedError: by Ctrl-C.
        NoResultError: every trial failed, or the training of a test machine.
    """
    prepared = prepare_shared(request)
    folder = prepared.planned.folder
    is_new = request.fresh or not StudyFolder(folder).exists()
    with study_lock(folder):
        if not (request.fresh and StudyFolder(folder).exists()):
            check_same_space(folder, prepared.planned.space, prepared.files)
        with connect_to_ray(request.address, request.resources, **request.start) as connection:
            context, data = create_shared(prepared, connection, request, bars)
            start = time.monotonic()
            try:
                # Imported here: a refused command need not wait for Optuna.
                from raysearch.search.optuna_backend import quiet_optuna

                with quiet_optuna():
                    end = execute([context], (), connection, request, callbacks)
            except UserError:
                # The process of the first trial or the cluster refused the request.
                discard_new_study(context.study, new=is_new)
                raise
            is_finished = end.is_finished
            winner = _freeze(context, data, request, bars, is_finished=is_finished)
            machines, opening = [], None
            if request.final and context.space.test_machines:
                opening = _opening(winner, context, request, is_finished=is_finished)
            if opening is not None:
                left = _left(request, context, time.monotonic() - start)
                with quiet_optuna():
                    machines = train_test_machines(
                        winner, context, connection, left, callbacks, bars
                    )
        if opening is not None and machines:
            final = FinalRequest(request.command, opening)
            run_shared_test(winner, machines, context, final, bars)
        _collect_clips(winner, context, data, bars)
        _draw(folder, request)
        logger.info("everything is in %s/", folder)
    end.check_machines()


def _left(request: Request, context: StudyContext, seconds: float) -> Request:
    """Return the request with what the search left of its budgets."""
    hours, limit = request.gpu_hours, request.time_budget
    if hours is not None:
        spent = sum(record.device_seconds for record in context.study.records()) / 3600
        hours = max(hours - spent, 1e-6)
    if limit is not None:
        limit = max(limit - seconds, 1.0)
    return replace(request, gpu_hours=hours, time_budget=limit)


def _opening(
    winner: Winner, context: StudyContext, request: Request, *, is_finished: bool
) -> int | None:
    """Return the number of the opening of the test machines; None if they stay closed now."""
    if not is_finished:
        logger.info("no final test yet, as the search is not finished; the same command goes on")
        return None
    return next_opening(winner, context, request.ending)


def _freeze(
    context: StudyContext,
    data: Sequence[TrialData],
    request: Request,
    bars: ProgressBars,
    *,
    is_finished: bool,
) -> Winner:
    """Freeze the best configuration, write and return it."""
    folder, records = context.folder, context.study.records()
    context.study.check_present()
    TrialsFile(folder, context.space, records).write()
    ranking = rank(records)
    if ranking is None:
        _draw(folder, request)
        raise NoResultError(no_result(records))
    winner = choose_winner(SHARED, context.fingerprint, ranking)
    notes = _measure_confidence(ranking, context, data, bars)
    before = read_frozen(folder)
    if before is None or before.detector != winner.detector:
        # What was measured on another configuration must not lie beside this winner.
        for machine in context.space.validation_machines:
            remove_tree(evidence_folder(machine_home(folder, machine)))
    if before != winner:
        freeze_winner(winner, folder)
    context.study.publish_journal()
    if is_finished and not request.keep_checkpoints:
        drop_losers(ranking, context, records)
    announce_best(winner, read_confidence(folder), notes, context)
    return winner


def _collect_clips(
    winner: Winner, context: StudyContext, data: Sequence[TrialData], bars: ProgressBars
) -> None:
    """Collect single clips of each validation machine, by the winner's encoder for it."""
    for part, recordings in zip(context.parts, data, strict=True):
        home = machine_home(context.folder, recordings.machine)
        make_folder(home, below=context.folder)
        load = _validation_detector(winner, part, recordings)
        collect_single_clips(winner, load, recordings, home, bars)


def _validation_detector(winner: Winner, part: StudyContext, data: TrialData) -> LoadDetector:
    """Return a function that builds the winner's detector of a validation machine."""

    def build() -> "Detector":
        from raysearch.pipeline.fit_detector import build_detector

        record = part.study.record(winner.trial)
        assert record is not None, winner
        encoder = part.config(record.proposal).signature()
        of_machine = replace(winner, machine=data.machine, data=data.fingerprint, encoder=encoder)
        return build_detector(of_machine, part.options, data, part.folder)

    return build


def _draw(folder: UPath, request: Request) -> None:
    if request.report:
        draw_report(folder)


def _measure_confidence(
    ranking: Ranking, context: StudyContext, data: Sequence[TrialData], bars: ProgressBars
) -> list[str]:
    """Write the confidence in the winner; return the notes that belong to its score."""
    # Imported here: the modules of a training take seconds.
    from raysearch.study.shared_confidence import measure_shared_confidence

    before = read_confidence(context.folder)
    parts = list(zip(context.parts, data, strict=True))
    with bars("scoring the validation clips", None) as advance:
        confidence = measure_shared_confidence(ranking, before, parts, advance)
    notes = [ranking.winner.best.row.remark, confidence.missing]
    if ranking.second is not None and confidence.is_noise:
        notes.append(f"within noise of the second, {settings(ranking.second)}")
    notes += caveats(ranking, context.study.records(), context.space.finalists)
    notes = [note for note in notes if note]
    confidence = replace(confidence, note="; ".join(notes))
    if confidence != before:
        write_confidence(confidence, context.folder)
    return notes
