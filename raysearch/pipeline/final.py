"""The final test of a run, and its repetition."""

import logging
from typing import TYPE_CHECKING

from upath import UPath

from raysearch.data.dataset import TrialData
from raysearch.errors import UserError
from raysearch.pipeline.drawing import (
    LoadDetector,
    collect_single_clips,
    detector_of,
    draw_report,
)
from raysearch.pipeline.finished import open_recordings, read_finished
from raysearch.pipeline.prepare import study_lock
from raysearch.pipeline.request import Ending
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.wording import count, format_time
from raysearch.scoring.intervals import Interval
from raysearch.scoring.official import OfficialResult
from raysearch.storage import AnyPath
from raysearch.study.context import StudyContext
from raysearch.study.ledger import FinalRequest, numbered, read_ledger
from raysearch.study.scores import FINAL, FinalTest
from raysearch.study.winner import Winner

if TYPE_CHECKING:
    from raysearch.detector import Detector

logger = logging.getLogger(__name__)


def run_final_test(
    winner: Winner,
    detector: LoadDetector,
    context: StudyContext,
    data: TrialData,
    request: FinalRequest,
    bars: ProgressBars,
) -> None:
    """Run the final test of a frozen configuration and log its result.

    Args:
        winner: frozen configuration.
        detector: loads the detector of the configuration.
        context: of the study.
        data: recordings of the search.
        request: of the test.
        bars: show the progress.
    """
    from raysearch.study.final_test import final_test

    reference = _reference(context, data)
    built = detector()
    # A ledger in a folder that was made anew would not know of earlier openings.
    context.study.check_present()
    with bars("final test", None) as advance:
        result = final_test(
            winner, built, context, request=request, reference=reference, on_clips=advance
        )
    log_final(result, winner, request.opening)


def _reference(context: StudyContext, data: TrialData) -> "Detector | None":
    """Return the detector of the reference; None if an ID has too few training clips for it."""
    from raysearch.pipeline.fit_detector import reference_detector

    try:
        return reference_detector(context.untrained_config, data)
    except UserError as error:
        logger.info("no reference in the final test: %s", error)
        return None


def log_final(result: FinalTest, winner: Winner, opening: int) -> None:
    """Log the result of a final test.

    Args:
        result: of the test.
        winner: frozen configuration.
        opening: number of the opening.
    """
    for remark in result.remarks:
        logger.info("%s", remark)
    for row in result.ids:
        note = f": {row.note}" if row.note else ""
        if row.areas is None:
            logger.info("  ID %s%s", row.id, note)
        else:
            logger.info("  ID %s: AUC %.4f, pAUC %.4f%s", row.id, *row.areas, note)
    if result.score is None:
        logger.info("no final test was possible")
        return
    logger.info(
        "%s of %s: harmonic mean %.4f%s over %s that the search never saw",
        "final test" if opening == 1 else f"final test, opening {opening},",
        winner.machine,
        result.score,
        _in_words(result.interval),
        _tested_ids(result),
    )
    if result.reference is not None:
        logger.info(
            "reference on the same clips: %.4f%s",
            result.reference,
            ", above the winner" if result.reference > result.score else "",
        )
    if result.official is not None:
        logger.info("  %s", format_official(result.official))


def format_official(official: OfficialResult) -> str:
    """Format the official scores of both domains as a line."""
    mean = official.mean
    years = {"2021": mean.official_2021, "from 2022 on": mean.official_2022}
    texts = [f"{year} {'none' if v is None else f'{v:.4f}'}" for year, v in years.items()]
    note = f" ({mean.note})" if mean.note else ""
    return f"official scores over source and target domain: {', '.join(texts)}{note}"


def _in_words(interval: Interval | None) -> str:
    return "" if interval is None else " (95 % interval {:.3f} to {:.3f})".format(*interval)


def _tested_ids(result: FinalTest) -> str:
    tested = len(result.areas)
    if tested == len(result.ids):
        return count(tested, "ID")
    return f"only {tested} of {count(len(result.ids), 'ID')}"


def run_due_test(
    winner: Winner,
    detector: LoadDetector,
    context: StudyContext,
    data: TrialData,
    ending: Ending,
    bars: ProgressBars,
) -> None:
    """Test a winner on the test IDs, unless it was tested or another one was before.

    Args:
        winner: frozen configuration.
        detector: loads the detector of the configuration.
        context: of the study.
        data: recordings of the search.
        ending: of the run.
        bars: show the progress.
    """
    number = next_opening(winner, context, ending)
    if number is not None:
        request = FinalRequest(ending.command, number)
        run_final_test(winner, detector, context, data, request, bars)


def next_opening(winner: Winner, context: StudyContext, ending: Ending) -> int | None:
    """Return the number of the opening in which a winner is tested now; None if it is not.

    Args:
        winner: frozen configuration.
        context: of the study.
        ending: of the run.
    """
    ledger = read_ledger(context.folder, context.study.manifest.started)
    if ledger.result_of(winner) is not None:
        return None
    number = ledger.next_number(winner)
    if ledger.is_further(winner) and not ending.reopen_test:
        first = ledger.openings[0]
        logger.info(
            "note: the final test is that of trial %d, which met the test IDs at %s; "
            "--reopen-test tests the new winner, too, as opening %d",
            first.winner.trial,
            format_time(first.time),
            number,
        )
        return None
    return number


def repeat_final(
    folder: UPath,
    data: AnyPath | None,
    ending: Ending,
    bars: ProgressBars = no_progress,
) -> None:
    """Run the final test of a study's frozen configuration.

    Args:
        folder: of the study.
        data: folder of the data set; None takes the study's.
        ending: of the run.
        bars: show the progress.

    Raises:
        UserError: the test IDs were opened before and are not to be opened again, there is no
            frozen configuration or no detector, the configuration was chosen on other
            recordings, or another process runs the study.
    """
    with study_lock(folder):
        study = read_finished(folder)
        ledger = read_ledger(folder, study.manifest.started)
        number = ledger.next_number(study.winner)
        if ledger.is_further(study.winner) and not ending.reopen_test:
            raise UserError(
                f"{folder / FINAL} is the result of the test IDs' first opening, at "
                f"{format_time(ledger.openings[0].time)}; --reopen-test opens them again, into "
                f"{numbered(FINAL, number)}"
            )
        context, recordings = open_recordings(study, data)
        load = detector_of(folder)
        request = FinalRequest(ending.command, number)
        run_final_test(study.winner, load, context, recordings, request, bars)
        collect_single_clips(study.winner, load, recordings, folder, bars)
        draw_report(folder)
