"""End of a run: the winner is frozen, built into a detector, and tested once on the test IDs.

Modules that embed clips or draw take seconds to import, so they are imported when they are needed:
a run that was finished before needs few of them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from upath import UPath

from raysearch.data.dataset import TrialData, make_source, open_data
from raysearch.errors import NoResultError, UserError, describe
from raysearch.pipeline.request import Request
from raysearch.report.clips.shown import evidence_folder, has_evidence
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.tables import format_score, write_best
from raysearch.report.trials_file import TrialsFile
from raysearch.report.wording import count, settings
from raysearch.storage import AnyPath, remove_tree, to_path
from raysearch.study.confidence import Confidence, read_confidence, write_confidence
from raysearch.study.context import StudyContext
from raysearch.study.manifest import read_manifest
from raysearch.study.ranking import Ranking, caveats, rank
from raysearch.study.records import Record
from raysearch.study.resampling import measure_confidence
from raysearch.study.space import Space
from raysearch.study.winner import Winner, choose_winner, freeze_winner, read_frozen

if TYPE_CHECKING:
    from raysearch.detector import Detector
    from raysearch.study.final_test import FinalResult

logger = logging.getLogger(__name__)

LoadDetector: TypeAlias = "Callable[[], Detector]"
"""Function that returns the winner's detector, loaded at the first call."""


def finish_study(
    context: StudyContext, data: TrialData, request: Request, bars: ProgressBars = no_progress
) -> None:
    """Write the best configuration and the detector; run the final test unless it was run.

    Args:
        context: of the study.
        data: recordings of the search.
        request: of the run.
        bars: show the progress.

    Raises:
        NoResultError: no trial has a score.
    """
    folder, records = context.folder, context.study.records()
    # A trial that a budget stopped may have written its record after the search.
    TrialsFile(folder, context.space, records).write()
    ranking = rank(records)
    if ranking is None:
        if request.report:
            draw_report(folder)
        raise NoResultError(_no_result(records))
    winner = choose_winner(context.source.machine, context.fingerprint, ranking)
    detector = _freeze(winner, context, data)
    confidence, notes = _measure_confidence(ranking, context, data, records, bars)
    context.study.publish_journal()
    if not request.keep_checkpoints:
        _drop_losers(ranking, context, records)
    _write_best(winner, confidence, notes, context)
    if request.final and not (folder / "final_test.csv").exists():
        _final_test(winner, detector, context, request.command, bars)
    _collect_clips(winner, detector, data, folder, bars)
    if request.report:
        draw_report(folder)
    logger.info("everything is in %s/", folder)


def repeat_final(
    folder: UPath, data: AnyPath | None, command: str, bars: ProgressBars = no_progress
) -> None:
    """Repeat the final test of a study's frozen configuration.

    Args:
        folder: of the study.
        data: folder of the data set; None takes the study's.
        command: for the ledger.
        bars: show the progress.

    Raises:
        UserError: there is no frozen configuration, or it was chosen on other recordings.
    """
    manifest = read_manifest(folder)
    winner = read_frozen(folder)
    if winner is None:
        raise UserError(f"{folder} has no frozen configuration yet; let its run end first")
    space, truth = Space.model_validate(manifest.space), manifest.ground_truth
    source = make_source(
        data or to_path(manifest.data),
        winner.machine,
        space.validation_ids,
        space.source_options,
        ground_truth=to_path(truth) if truth else None,
        allow_defects=manifest.allow_defects,
    )
    recordings = open_data(source)
    if recordings.fingerprint != winner.data:
        raise UserError(f"{source.root}: not the recordings that {folder} was searched on")
    detector = _build_detector(winner, space, recordings, folder)
    context = StudyContext(folder, source, recordings.fingerprint, space)
    _final_test(winner, detector, context, command, bars)
    _collect_clips(winner, detector, recordings, folder, bars)
    draw_report(folder)


def draw_report(folder: UPath, write: Callable[[UPath], UPath] | None = None) -> None:
    """Draw a report; a report that cannot be drawn costs no result.

    Args:
        folder: of a study, or of several.
        write: draws the report and returns its path; None draws the report of a study.
    """
    try:
        if write is None:
            from raysearch.report.html.page import write_report

            write = write_report
        path = write(folder)
    except Exception as error:
        logger.warning("no report: %s; `raysearch report %s` tries again", describe(error), folder)
    else:
        logger.info("report: %s", path)


def _collect_clips(
    winner: Winner, detector: LoadDetector, data: TrialData, folder: UPath, bars: ProgressBars
) -> None:
    """Collect single clips for the report, unless the folder has them; as `draw_report`."""
    if has_evidence(folder):
        return
    try:
        from raysearch.report.clips.collect import collect_clips

        with bars("collecting single clips", None) as advance:
            collect_clips(detector(), data, winner.seed, folder, advance)
    except Exception as error:
        logger.warning("the report has no single clips: %s", describe(error))


def _no_result(records: Sequence[Record]) -> str:
    if not records:
        return "no trial has ended yet; give the search more time"
    errors = {r.error or next((row.error for row in r.rows), "") for r in records}
    reasons = "; ".join(sorted(errors - {""})) or "all were pruned"
    return f"none of {len(records)} trials has a score: {reasons}"[:400]


def _freeze(winner: Winner, context: StudyContext, data: TrialData) -> LoadDetector:
    """Freeze the winner and build its detector, unless the folder holds both."""
    folder = context.folder
    target = folder / "detector"
    frozen = read_frozen(folder)
    is_built = (target / "detector.json").exists()
    if frozen is not None and frozen.detector == winner.detector and is_built:
        # The winner may have been trained with further seeds, or have other rivals by now.
        if frozen != winner:
            freeze_winner(winner, folder)
        return _load_detector(target)
    # Results of another configuration must not lie beside this winner.
    for name in ("final_test.csv", "final_scores.csv", "confidence.json"):
        (folder / name).unlink(missing_ok=True)
    for stale in (folder / "submission", evidence_folder(folder), target):
        remove_tree(stale)
    freeze_winner(winner, folder)
    return _build_detector(winner, context.space, data, folder)


def _load_detector(folder: UPath) -> LoadDetector:
    @cache
    def load() -> "Detector":
        from raysearch.detector import load_detector

        return load_detector(folder)

    return load


def _build_detector(winner: Winner, space: Space, data: TrialData, folder: UPath) -> LoadDetector:
    from raysearch.detector import save_detector
    from raysearch.pipeline.fit_detector import build_detector

    detector = build_detector(winner, space.fixed, data, folder)
    save_detector(detector, folder / "detector")
    return lambda: detector


def _measure_confidence(
    ranking: Ranking,
    context: StudyContext,
    data: TrialData,
    records: Sequence[Record],
    bars: ProgressBars,
) -> tuple[Confidence, list[str]]:
    """Return the confidence in the winner, and the notes that belong to its score."""
    folder, second = context.folder, ranking.second
    before = read_confidence(folder)
    with bars("resampling the validation clips", None) as advance:
        confidence = measure_confidence(
            ranking, before, context.options, data, context.study, advance
        )
    notes = [ranking.winner.best.row.remark]
    if second is not None and confidence.is_noise:
        notes.append(f"within noise of the second, {settings(second)}")
    notes += caveats(ranking, records, context.space.finalists)
    notes = [note for note in notes if note]
    confidence = replace(confidence, note="; ".join(notes))
    if confidence != before:
        write_confidence(confidence, folder)
    return confidence, notes


def _drop_losers(ranking: Ranking, context: StudyContext, records: Sequence[Record]) -> None:
    """Delete the checkpoints that neither the winner nor an unfinished trial needs."""
    ended = {record.proposal.number for record in records}
    needed = {training.record.encoder for training in ranking.winner.trainings}
    useless = set[str]()
    for proposal in context.study.proposals():
        signature = context.config(proposal).signature()
        (useless if proposal.number in ended else needed).add(signature)
    for signature in sorted(useless - needed):
        context.study.drop_checkpoints(signature)


def _write_best(
    winner: Winner, confidence: Confidence, notes: Sequence[str], context: StudyContext
) -> None:
    write_best(context.folder, winner, confidence, context.space)
    logger.info(
        "best configuration of %s: %s; validation score %s",
        winner.machine,
        settings(winner),
        format_score(winner, confidence),
    )
    for note in notes:
        logger.info("note: %s", note)


def _final_test(
    winner: Winner, detector: LoadDetector, context: StudyContext, command: str, bars: ProgressBars
) -> None:
    from raysearch.study.final_test import final_test

    with bars("final test", None) as advance:
        result = final_test(winner, detector(), context, command=command, on_clips=advance)
    _log_final(result, winner)


def _log_final(result: "FinalResult", winner: Winner) -> None:
    for remark in result.remarks:
        logger.info("%s", remark)
    if result.score is None:
        logger.info("no final test was possible")
        return
    for identity, (auc, pauc) in result.score.per_id.items():
        logger.info("  ID %s: AUC %.4f, pAUC %.4f", identity, auc, pauc)
    logger.info(
        "final test of %s: harmonic mean %.4f over %s that the search never saw",
        winner.machine,
        result.score.hmean,
        count(len(result.score.per_id), "ID"),
    )
