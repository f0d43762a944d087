"""The final test of a run, and its repetition."""

import logging
from typing import TYPE_CHECKING

from upath import UPath

from raysearch.pipeline.drawing import (
    LoadDetector,
    collect_single_clips,
    detector_of,
    draw_report,
)
from raysearch.pipeline.finished import open_recordings, read_finished
from raysearch.report.progress import ProgressBars, no_progress
from raysearch.report.wording import count
from raysearch.storage import AnyPath
from raysearch.study.context import StudyContext
from raysearch.study.winner import Winner

if TYPE_CHECKING:
    from raysearch.study.final_test import FinalResult

logger = logging.getLogger(__name__)


def run_final_test(
    winner: Winner, detector: LoadDetector, context: StudyContext, command: str, bars: ProgressBars
) -> None:
    """Run the final test of a frozen configuration and log its result.

    Args:
        winner: frozen configuration.
        detector: loads the detector of the configuration.
        context: of the study.
        command: for the ledger.
        bars: show the progress.
    """
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
        UserError: there is no frozen configuration or no detector, or the configuration was chosen
            on other recordings.
    """
    study = read_finished(folder)
    context, recordings = open_recordings(study, data)
    load = detector_of(folder)
    run_final_test(study.winner, load, context, command, bars)
    collect_single_clips(study.winner, load, recordings, folder, bars)
    draw_report(folder)
