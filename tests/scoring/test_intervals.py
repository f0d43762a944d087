"""Intervals of scores and leads: what they hold, what they refuse, how often they err."""

from statistics import fmean, stdev

import numpy as np
import pytest
from interval_coverage import distances, seed_coverage, share, simulate, true_scores
from scipy.stats import t

from raysearch.scoring.intervals import (
    BEND,
    Mean,
    Spread,
    harmonic_spread,
    lead_interval,
    mean_spread,
    no_interval,
    paired_interval,
    score_interval,
)
from raysearch.scoring.jackknife import clip_score, jackknife
from raysearch.scoring.metrics import ClipScores, Floats, harmonic_mean


def runs(seed: int, *shifts: float, clips: int = 20) -> list[ClipScores]:
    """Simulate encoders whose anomalies score higher by some standard deviations."""
    generator = np.random.default_rng(seed)
    return simulate(np.repeat(np.array(shifts)[:, None], 3, axis=1), clips, generator)


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_holds_the_score_and_narrows_with_more_clips(seed: int) -> None:
    widths = []
    for clips in (30, 300):
        run = runs(seed, 1.0, clips=clips)
        low, high = score_interval(run) or (1, 0)
        assert low < clip_score(run[0]) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_seeds_that_differ_widen_an_interval() -> None:
    alike, apart = (score_interval(runs(0, *shifts)) for shifts in ((1, 1, 1), (0.5, 1, 1.5)))
    assert alike is not None
    assert apart is not None
    assert apart[1] - apart[0] > 1.5 * (alike[1] - alike[0])


def test_no_interval_leaves_0_and_1() -> None:
    for shifts in ((0.1, 4.0), (3.0, 6.0), (9.0,)):
        low, high = score_interval(runs(1, *shifts)) or (-1, 2)
        assert 0 <= low < high <= 1


def test_a_perfect_score_has_an_interval_that_ends_at_it() -> None:
    low, high = score_interval(runs(0, 20.0)) or (0, 0)
    assert 0.8 < low < 0.99
    assert high == 1


def test_without_enough_clips_there_is_a_reason_and_no_interval() -> None:
    labels = np.array([0, 0, 1, 1, 1], np.int64)
    few: list[ClipScores] = [{"0": (labels, labels.astype(np.float64))}] * 2
    assert no_interval(few) == "too few clips for an interval: 2 normal, 3 anomalous"
    assert score_interval(few) is None
    assert lead_interval(few, few) is None
    assert paired_interval(few[0], few[1]) is None
    labels = np.repeat(np.array([0, 1], np.int64), 20)
    reason = no_interval([{"0": (labels, 1 - labels.astype(np.float64))}])
    assert reason == "an AUC of 0 makes the score 0, which has no interval"
    assert no_interval([]) == no_interval([{}]) == "no scores of clips"


def test_a_single_seed_makes_no_claim() -> None:
    good, poor = runs(0, 3.0, 3.0), runs(0, 0.0, 0.0)
    assert lead_interval(good[:1], poor[:1]) is None
    assert lead_interval(good, poor[:1]) is None
    low, _ = lead_interval(good, poor) or (0, 0)
    assert low > 0


def test_a_lead_that_another_seed_would_turn_round_is_noise() -> None:
    # Of clips alone the first is better: all its clips are scored better by two of three seeds.
    low, high = lead_interval(runs(0, 0.2, 2.0, 2.0), runs(0, 0.2, 0.2, 2.0)) or (1, -1)
    assert low < 0 < high


def test_a_pair_of_detectors_differs_over_clips_alone() -> None:
    first, second = runs(0, 0.5, 2.0)
    low, high = paired_interval(first, second) or (0, 0)
    assert 0 < low < clip_score(second) - clip_score(first) < high
    assert paired_interval(first, first) == (0, 0)


def test_a_harmonic_mean_errs_as_its_parts_do() -> None:
    rng = np.random.default_rng(0)
    parts = [Mean(0.7, Spread(1e-4, 50, 2e-4, 2)), Mean(0.9, Spread(4e-4, 50, 0, 2))]
    mean = harmonic_spread(parts)
    assert mean.center == harmonic_mean([0.7, 0.9])
    draws = [0.7 + rng.normal(size=20000) * 3e-4**0.5, 0.9 + rng.normal(size=20000) * 0.02]
    drawn = 2 / (1 / draws[0] + 1 / draws[1])
    assert mean.spread.clips + mean.spread.seeds == pytest.approx(drawn.var(), rel=0.05)
    assert mean.spread.seed_freedom == pytest.approx(2)


def test_intervals_hold_the_true_score_as_often_as_they_say() -> None:
    shifts = distances((0.7, 0.8, 0.9))
    generator = np.random.default_rng(0)
    bounds = [score_interval(simulate(shifts[None], 20, generator)) for _ in range(300)]
    assert 0.92 <= share(bounds, float(true_scores(shifts))) <= 0.985


def half_width(spread: Spread, bend: float) -> float:
    """Return half the width of an interval, by Student's t."""
    clips, seeds = spread.clips, spread.seeds
    total = clips + seeds
    narrow, wide = t.ppf(0.975, spread.clip_freedom), t.ppf(0.975, spread.seed_freedom)
    share = min(seeds / total, 1) ** bend
    return float((narrow + (wide - narrow) * share) * total**0.5)


def pairs_mean(covariance: Floats, rows: range, columns: range) -> float:
    """Return the mean of a part of a covariance, without the diagonal."""
    return fmean(covariance[i, j] for i in rows for j in columns if i != j)


@pytest.mark.parametrize("shifts", [(0.2, 2.0, 2.0), (1.0, 1.0, 1.02), (0.9, 1.1, 1.3)])
def test_the_error_of_a_mean_is_that_of_readers_crossed_with_cases(
    shifts: tuple[float, ...],
) -> None:
    seeds = runs(4, *shifts)
    known = jackknife(seeds)
    spread = mean_spread(seeds).spread
    clips = max(pairs_mean(known.covariance, range(3), range(3)), 0)
    variance = stdev(known.scores) ** 2 / 3
    assert spread.clips == pytest.approx(clips)
    assert spread.seeds == pytest.approx(variance)
    assert (spread.clip_freedom, spread.seed_freedom) == (known.freedom, 2)
    expected = half_width(Spread(clips, known.freedom, variance, 2), BEND)
    assert spread.half_width == pytest.approx(expected)


# Encoders that two configurations share put the clips' part below its limit.
@pytest.mark.parametrize("is_limited", [False, True])
def test_the_error_of_a_lead_is_that_of_readers_crossed_with_cases(is_limited: bool) -> None:
    everything = runs(0, 1.0, 1.0, 0.5, 0.51, 1.0 if is_limited else 0.49)
    if is_limited:
        everything[2:4] = everything[:2]
    first, second = everything[:2], everything[2:]
    known = jackknife(everything)
    covariance, former, latter = known.covariance, range(2), range(2, 5)
    clips = pairs_mean(covariance, former, former)
    clips += pairs_mean(covariance, latter, latter)
    clips -= 2 * pairs_mean(covariance, former, latter)
    parts = stdev(known.scores[:2]) ** 2 / 2, stdev(known.scores[2:]) ** 2 / 3
    assert (clips < -0.35 * sum(parts)) is is_limited
    clips = max(clips, -0.35 * sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 2)
    gap = fmean(map(clip_score, first)) - fmean(map(clip_score, second))
    half = half_width(Spread(clips, known.freedom, sum(parts), freedom), 2.5)
    assert lead_interval(first, second) == pytest.approx((gap - half, gap + half))


def test_seeds_known_better_than_clips_narrow_no_interval() -> None:
    spread = Spread(1e-4, 5, 3e-4, 50)
    assert spread.half_width == pytest.approx(t.ppf(0.975, 5) * 0.02)
    assert Spread(0.0, 5, 0.0, 50).half_width == 0


@pytest.mark.slow
def test_equal_configurations_are_rarely_called_different() -> None:
    rows = list(seed_coverage(200, sizes=(20,), seeds=(1, 3)))
    leads = {(row.seeds, row.case): row.value for row in rows if row.figure == "leads"}
    assert all(leads[1, case] == 0 for seeds, case in leads if seeds == 1)
    # Of clips alone a quarter to a half of the pairs differed.
    assert all(value <= 0.09 for value in leads.values())
    # Nor are intervals much too wide: 5 % is what they promise.
    assert fmean(value for (seeds, _), value in leads.items() if seeds == 3) >= 0.03
    assert all(row.value >= 0.91 for row in rows if row.figure == "seeds")
