"""The quantile that suits validation clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.pipeline.calibrate import QUANTILES, calibrate
from raysearch.report.clips.shown import Part, ShownClip, write_clips
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.bundle import save_detector
from tests.detectors import IDS, make_detector

RNG = np.random.default_rng(0)
SCORES = {identity: tuple(RNG.normal(0, 1, 500).tolist()) for identity in IDS}


def clip(number: int, part: Part, label: int, score: float) -> ShownClip:
    return ShownClip("valve", IDS[number % 2], f"{number}.wav", part, label, score, 0.0, 0.0, 0.0)


def run(folder: Path, shift: float, part: Part = Part.VALIDATION) -> UPath:
    """Write a run whose anomalies score higher by a shift."""
    rng = np.random.default_rng(1)
    clips = [
        clip(number, part, label, float(rng.normal(shift * label, 1)))
        for number in range(400)
        for label in (0, 1)
    ]
    save_detector(replace(make_detector(), normal_scores=SCORES), UPath(folder / "detector"))
    write_clips(UPath(folder), [*clips, clip(0, Part.HELD_OUT, 0, 99.0)])
    return UPath(folder)


def test_the_largest_f1_is_between_normal_and_anomalous_scores(tmp_path: Path) -> None:
    chosen = calibrate(run(tmp_path, 4.0))
    # Of two normal distributions four apart, the middle is two standard deviations above the first.
    assert 0.96 <= chosen.quantile <= 0.99
    assert (chosen.anomalous, chosen.normal) == (400, 400)
    assert chosen.f1 == pytest.approx(2 * chosen.hits / (400 + chosen.hits + chosen.alarms))
    assert chosen.f1 > 0.95


def test_anomalies_that_sound_normal_take_a_low_threshold(tmp_path: Path) -> None:
    chosen = calibrate(run(tmp_path, 0.0))
    assert chosen.quantile == QUANTILES[0]


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_share_of_false_alarms_is_kept_and_used_up(tmp_path: Path, rate: float) -> None:
    chosen = calibrate(run(tmp_path, 2.0), rate)
    assert chosen.alarm_rate <= rate
    assert chosen.quantile == pytest.approx(1 - rate, abs=0.03)
    lower = chosen.quantile - 0.01
    counted = calibrate(run(tmp_path, 2.0), 0.5)
    assert counted.quantile < lower
    rng, alarms = np.random.default_rng(1), 0
    for number in range(400):
        for label in (0, 1):
            score = float(rng.normal(2.0 * label, 1))
            threshold = gamma_threshold(np.array(SCORES[IDS[number % 2]]), lower)
            alarms += label == 0 and score > threshold
    assert alarms / 400 > rate


def test_a_run_without_labels_or_scores_cannot_be_calibrated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no normal and anomalous validation clips"):
        calibrate(run(tmp_path, 2.0, Part.HELD_OUT))
    folder = run(tmp_path, 2.0)
    (folder / "detector" / "normal_scores.json").unlink()
    with pytest.raises(UserError, match="keeps no scores of normal clips of ID 0"):
        calibrate(folder)


def test_alarms_that_no_quantile_avoids(tmp_path: Path) -> None:
    folder = run(tmp_path, 2.0)
    write_clips(folder, [clip(0, Part.VALIDATION, label, 99.0) for label in (0, 1)])
    with pytest.raises(UserError, match="still 1 false alarms of 1 validation clips"):
        calibrate(folder, 0.1)
