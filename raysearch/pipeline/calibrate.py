"""The quantile of a detector's thresholds that suits the labelled validation clips of its run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.clips.shown import Part, ShownClip, read_clips
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.bundle import read_normal_scores
from raysearch.study.thresholds import find_detector

QUANTILES = (*np.round(np.arange(0.5, 0.99, 0.01), 2).tolist(), 0.99, 0.995, 0.999)
"""Quantiles that are compared."""


@dataclass(frozen=True)
class Calibration:
    """Decisions on the validation clips at a quantile.

    Attributes:
        hits: anomalous clips above the threshold of their product ID.
        alarms: normal clips above it.
        anomalous: number of anomalous clips.
        normal: number of normal clips.
    """

    quantile: float
    hits: int
    alarms: int
    anomalous: int
    normal: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without a hit."""
        return 2 * self.hits / (self.anomalous + self.hits + self.alarms)

    @property
    def alarm_rate(self) -> float:
        """Share of normal clips above the threshold."""
        return self.alarms / self.normal


def calibrate(run: UPath, alarm_rate: float | None = None) -> Calibration:
    """Choose a quantile on the validation clips of a run; no test clip of a test ID is read.

    Args:
        run: folder of a finished run.
        alarm_rate: largest share of false alarms, of which the lowest quantile is chosen; None
            chooses the quantile of the largest F1, the highest of equals.

    Raises:
        UserError: the run has no labelled validation clips, or no quantile has so few alarms.
    """
    clips = [clip for clip in read_clips(run) if clip.part is Part.VALIDATION]
    if {clip.label for clip in clips} != {0, 1}:
        raise UserError(
            f"{run} has no normal and anomalous validation clips (evidence/clips.csv) to calibrate "
            "by; name the folder of a finished run with validation_ids, or set --quantile"
        )
    scores = read_normal_scores(find_detector(run))
    if missing := sorted({clip.id for clip in clips} - scores.keys()):
        raise UserError(
            f"{run}: the detector keeps no scores of normal clips of ID {missing[0]}, as it is of "
            "an earlier version; delete its folder and repeat the command of its run"
        )
    tried = [_judge(clips, scores, quantile) for quantile in QUANTILES]
    if alarm_rate is None:
        return max(tried, key=lambda each: (each.f1, each.quantile))
    quiet = [each for each in tried if each.alarm_rate <= alarm_rate]
    if not quiet:
        raise UserError(
            f"{run}: at the quantile {QUANTILES[-1]:g} there are still {tried[-1].alarms} false "
            f"alarms of {tried[-1].normal} validation clips; allow more, or set --quantile"
        )
    return quiet[0]


def _judge(
    clips: Sequence[ShownClip], scores: dict[str, tuple[float, ...]], quantile: float
) -> Calibration:
    ids = {clip.id for clip in clips}
    thresholds = {i: gamma_threshold(np.array(scores[i]), quantile) for i in ids}
    above = [clip.label for clip in clips if (clip.score or 0.0) > thresholds[clip.id]]
    anomalous = sum(clip.label for clip in clips)
    return Calibration(
        quantile, sum(above), len(above) - sum(above), anomalous, len(clips) - anomalous
    )
