"""End of a run: the winner is frozen, built into a detector, and tested once on the test IDs.

Modules that embed clips or draw take seconds to import, so they are imported when they are needed:
a run that was finished before needs few of them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from raysearch.data.dataset import TrialData
from raysearch.errors import NoResultError, UserError
from raysearch.pipeline.drawing import (
    LoadDetector,
    collect_single_clips,
    detector_of,
    draw_report,
)
from raysearch.pipeline.final import run_due_test
from raysearch.pipeline.request import Ending
from raysearch.report.clips.shown import evidence_folder
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.tables import write_best
from raysearch.report.trials_file import TrialsFile
from raysearch.report.wording import failed_trials, format_score, settings
from raysearch.storage import remove_tree
from raysearch.study.confidence import Confidence, read_confidence, write_confidence
from raysearch.study.context import StudyContext
from raysearch.study.ranking import Ranking, caveats, rank
from raysearch.study.records import Proposal, Record
from raysearch.study.reference import NAME, read_reference, reference_score, write_reference
from raysearch.study.resampling import measure_confidence
from raysearch.study.winner import Winner, choose_winner, freeze_winner, is_built, read_frozen

if TYPE_CHECKING:
    from raysearch.detector import Detector

logger = logging.getLogger(__name__)


class Conclusion(Protocol):
    """The parts of a study's end that depend on how its winner was found."""

    def detector(self, winner: Winner) -> "Detector":
        """Build the detector of the winner.

        Raises:
            UserError: it cannot be built.
        """

    def confidence(
        self, ranking: Ranking, previous: Confidence, on_encoder: Callable[[int], None]
    ) -> Confidence:
        """Measure the confidence in the winner of a ranking.

        Args:
            ranking: of the study.
            previous: earlier result, returned if it is of the same encoders.
            on_encoder: called with 1 after each encoder.
        """


@dataclass(frozen=True)
class SearchConclusion:
    """The conclusion of a search: the winner's encoder was trained by a trial."""

    context: StudyContext
    data: TrialData

    def detector(self, winner: Winner) -> "Detector":
        """Fit the winner's inlier models, see `build_detector`."""
        from raysearch.pipeline.fit_detector import build_detector

        context = self.context
        return build_detector(winner, context.options, self.data, context.folder)

    def confidence(
        self, ranking: Ranking, previous: Confidence, on_encoder: Callable[[int], None]
    ) -> Confidence:
        """Score the validation clips, see `measure_confidence`."""
        context = self.context
        return measure_confidence(
            ranking, previous, context.options, self.data, context.study, on_encoder
        )


def finish_study(
    conclusion: Conclusion,
    context: StudyContext,
    data: TrialData,
    ending: Ending,
    bars: ProgressBars = no_progress,
) -> None:
    """Write the best configuration and the detector; run the final test unless it was run.

    Args:
        conclusion: of the study.
        context: of the study.
        data: recordings of the search.
        ending: of the run.
        bars: show the progress.

    Raises:
        NoResultError: no trial has a score.
        MachineError: the folder of the study is gone.
    """
    folder, records = context.folder, context.study.records()
    # A disk that is away would look like a study without records, and be written anew.
    context.study.check_present()
    _score_reference(context, data)
    # A trial that a budget stopped may have written its record after the search.
    TrialsFile(folder, context.space, records).write()
    ranking = rank(records)
    if ranking is None:
        if ending.report:
            draw_report(folder)
        raise NoResultError(no_result(records))
    winner = choose_winner(context.source.machine, context.fingerprint, ranking)
    try:
        detector = _freeze(winner, conclusion, context)
    except UserError as error:
        if ending.is_finished:
            raise
        logger.info("no detector of the best configuration yet: %s", error)
        if ending.report:
            draw_report(folder)
        return
    confidence, notes = _measure_confidence(ranking, conclusion, context, records, bars)
    context.study.publish_journal()
    if ending.is_finished and not ending.keep_checkpoints:
        drop_losers(ranking, context, records)
    announce_best(winner, confidence, notes, context)
    if failed := failed_trials(records):
        logger.info("%s; --retry-failed trains them again", failed)
    if ending.final and ending.is_finished:
        run_due_test(winner, detector, context, data, ending, bars)
    elif ending.final:
        logger.info(
            "no final test yet, as %s; `raysearch final %s` runs it now",
            ending.failures or "the search is not finished",
            folder,
        )
    collect_single_clips(winner, detector, data, folder, bars)
    if ending.report:
        draw_report(folder)
    logger.info("everything is in %s/", folder)


def _score_reference(context: StudyContext, data: TrialData) -> None:
    """Score the reference of an ensemble, or of a study of an earlier version."""
    if read_reference(context.folder) is not None or not context.space.validation_ids:
        return
    # Now: torch takes seconds to import.
    from raysearch.training.reference import score_reference

    write_reference(score_reference(context.untrained_config, data), context.folder)


def no_result(records: Sequence[Record]) -> str:
    """Return why a study has no result."""
    if not records:
        return "no trial has ended yet; give the search more time"
    errors = {r.error or next((row.error for row in r.rows), "") for r in records}
    reasons = "; ".join(sorted(errors - {""})) or "all were pruned"
    return f"none of {len(records)} trials has a score: {reasons}"[:400]


def _freeze(winner: Winner, conclusion: Conclusion, context: StudyContext) -> LoadDetector:
    """Freeze the winner and build its detector, unless the folder holds both.

    The detector of an earlier winner goes once the new one is complete. Results of the final test
    stay: they belong to the configuration in the ledger.
    """
    folder = context.folder
    if is_built(winner.detector, folder):
        # The winner may have been trained with further seeds, or have other rivals by now.
        if read_frozen(folder) != winner:
            freeze_winner(winner, folder)
        return detector_of(folder)
    from raysearch.study.bundle import replace_detector

    detector = conclusion.detector(winner)
    context.study.check_present()
    # What was measured on another configuration must not lie beside this winner.
    (folder / "confidence.json").unlink(missing_ok=True)
    remove_tree(evidence_folder(folder))
    replace_detector(detector, folder / "detector")
    freeze_winner(winner, folder)
    return lambda: detector


def _measure_confidence(
    ranking: Ranking,
    conclusion: Conclusion,
    context: StudyContext,
    records: Sequence[Record],
    bars: ProgressBars,
) -> tuple[Confidence, list[str]]:
    """Return the confidence in the winner, and the notes that belong to its score."""
    folder, second = context.folder, ranking.second
    before = read_confidence(folder)
    with bars("scoring the validation clips", None) as advance:
        confidence = conclusion.confidence(ranking, before, advance)
    notes = [ranking.winner.best.row.remark, confidence.missing]
    if second is not None and confidence.is_noise:
        notes.append(f"within noise of the second, {settings(second)}")
    notes += caveats(ranking, records, context.space.finalists)
    notes = [note for note in notes if note]
    confidence = replace(confidence, note="; ".join(notes))
    context.study.check_present()
    if confidence != before:
        write_confidence(confidence, folder)
    return confidence, notes


def drop_losers(ranking: Ranking, context: StudyContext, records: Sequence[Record]) -> None:
    """Delete the checkpoints that neither the winner nor an unfinished trial needs."""
    ended = {record.proposal.number for record in records}
    needed = {training.record.encoder for training in ranking.winner.trainings}
    for training in ranking.winner.trainings:
        needed |= _signatures(training.record.proposal, context)
    useless = set[str]()
    for proposal in context.study.proposals():
        target = useless if proposal.number in ended else needed
        target |= _signatures(proposal, context)
    for signature in sorted(useless - needed):
        context.study.drop_checkpoints(signature)


def _signatures(proposal: Proposal, context: StudyContext) -> set[str]:
    """Return the signatures of a trial's encoders, of each machine type of a shared search."""
    return {part.config(proposal).signature() for part in context.parts}


def announce_best(
    winner: Winner, confidence: Confidence, notes: Sequence[str], context: StudyContext
) -> None:
    """Write and log the best configuration.

    Args:
        winner: frozen configuration.
        confidence: in the winner.
        notes: that belong to its score.
        context: of the study.
    """
    write_best(context.folder, winner, confidence, context.space)
    reference = reference_score(context.folder)
    is_below = reference is not None and (winner.score or 0.0) < reference
    logger.info(
        "%s configuration of %s: %s; %s%s%s",
        "only" if winner.score is None else "best",
        winner.machine,
        settings(winner),
        "" if winner.score is None else "validation score ",
        format_score(winner, confidence),
        f", below the {reference:.4f} of the reference" if is_below else "",
    )
    if reference is not None:
        logger.info("reference: %.4f with %s", reference, NAME)
    for note in notes:
        logger.info("note: %s", note)
