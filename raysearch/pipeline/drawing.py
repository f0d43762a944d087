"""The drawings of a run: its report and the single clips in it; one that fails costs no result."""

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from upath import UPath

from raysearch.data.dataset import TrialData
from raysearch.errors import describe
from raysearch.report.clips.shown import has_evidence
from raysearch.report.progress import ProgressBars
from raysearch.study.winner import Winner

if TYPE_CHECKING:
    from raysearch.detector import Detector

logger = logging.getLogger(__name__)

LoadDetector: TypeAlias = "Callable[[], Detector]"
"""Function that returns the winner's detector, loaded at the first call."""


def detector_of(folder: UPath) -> LoadDetector:
    """Return a function that loads the detector of a study's folder once."""

    @cache
    def load() -> "Detector":
        from raysearch.study.bundle import load_detector

        return load_detector(folder / "detector")

    return load


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


def collect_single_clips(
    winner: Winner, detector: LoadDetector, data: TrialData, folder: UPath, bars: ProgressBars
) -> None:
    """Collect single clips for the report, unless the folder has them.

    Args:
        winner: frozen configuration.
        detector: loads the detector of the configuration.
        data: recordings of the search.
        folder: of the study.
        bars: show the progress.
    """
    if has_evidence(folder):
        return
    try:
        from raysearch.report.clips.collect import collect_clips

        with bars("collecting single clips", None) as advance:
            collect_clips(detector(), data, winner.seed, folder, advance)
    except Exception as error:
        logger.warning("the report has no single clips: %s", describe(error))
