"""Intervals of scores and of leads, over other clips and other seeds.

The error of a mean over n seeds has a part of the clips, known with many degrees of freedom (see
`jackknife`), and a part of the seeds, known with n - 1. Seeds are crossed with clips, as readers
with cases in Obuchowski and Rockette (1995): the seeds' scores also spread by the errors that each
encoder makes on the clips alone, so only the covariance between seeds is added to their spread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysearch.scoring.jackknife import clip_score, few_clips, jackknife, satterthwaite
from raysearch.scoring.metrics import ClipScores, Floats, harmonic_mean

LEVEL = 0.95

BEND = 1.45
"""Exponent of the seeds' share of a variance in the quantile of Student's t.

1 is the rule of Cochran and Cox, whose intervals are too wide where seeds matter little; with the
rule of Satterthwaite they cover 88 % where two seeds matter much. Between 0.93 and 0.97 of the
intervals hold the true value with 1.45, whatever the share: `analysis/interval_coverage.py`.
"""

LEAD_BEND = 2.5
"""The same for a lead, whose seeds are those of two configurations."""

LEAST_SHARED = -0.35
"""Least part of the clips in the variance of a lead, as a multiple of the seeds' part.

Of equal configurations the part of the clips is 0, and its estimate is as often below as above. Cut
at 0 it would make intervals too wide: 1 to 3 % of equal configurations would be called different
instead of 5 %. The limit keeps the variance above 0.
"""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """Variance of an estimate.

    Attributes:
        clips: part of the choice of clips; of a lead it may be negative.
        clip_freedom: degrees of freedom of this part.
        seeds: part of the seeds; 0 where it is not estimated.
        seed_freedom: degrees of freedom of this part.
        bend: exponent of the seeds' share.
    """

    clips: float
    clip_freedom: float
    seeds: float = 0.0
    seed_freedom: float = 1.0
    bend: float = BEND

    @property
    def half_width(self) -> float:
        """Half of the width of an interval."""
        # Imported here: it takes long, and most commands need none of it.
        from scipy.stats import t

        total = self.clips + self.seeds
        if total <= 0:
            return 0.0
        wide, narrow = (t.ppf((1 + LEVEL) / 2, f) for f in (self.seed_freedom, self.clip_freedom))
        share = min(self.seeds / total, 1.0) ** self.bend
        return float((narrow + max(wide - narrow, 0) * share) * np.sqrt(total))


def no_interval(runs: Sequence[ClipScores]) -> str:
    """Return the reason why runs have no interval, for display; empty if they have one."""
    if not runs or not runs[0]:
        return "no scores of clips"
    if few := few_clips(runs[0]):
        return f"too few clips for an interval: {few[0]} normal, {few[1]} anomalous"
    if any(clip_score(run) == 0 for run in runs):
        return "an AUC of 0 makes the score 0, which has no interval"
    return ""


def score_interval(runs: Sequence[ClipScores]) -> Interval | None:
    """Return the interval of a configuration's mean score over other clips and other seeds.

    With a single seed the interval is over other clips alone. It is symmetric in the log-odds of
    the score, as a score near 1 errs further down than up.

    Args:
        runs: clip scores of each seed, of the same clips.

    Returns:
        None where `no_interval` has a reason.
    """
    if no_interval(runs):
        return None
    result = mean_spread(runs)
    return logit_interval(result.center, result.spread, float(np.mean([*map(clip_score, runs)])))


@dataclass(frozen=True)
class Mean:
    """A mean score, with ties as in `jackknife`, and its variance."""

    center: float
    spread: Spread


def harmonic_spread(means: Sequence[Mean]) -> Mean:
    """Return the harmonic mean of independent means, and its variance by the delta method."""
    centers = np.array([mean.center for mean in means])
    center = harmonic_mean(centers)
    squares = (center**2 / (len(means) * centers**2)) ** 2
    clips = squares * [mean.spread.clips for mean in means]
    seeds = squares * [mean.spread.seeds for mean in means]
    return Mean(
        center,
        Spread(
            float(clips.sum()),
            satterthwaite(clips, [mean.spread.clip_freedom for mean in means]),
            float(seeds.sum()),
            satterthwaite(seeds, [mean.spread.seed_freedom for mean in means]),
        ),
    )


def mean_spread(runs: Sequence[ClipScores]) -> Mean:
    """Return the mean score over the seeds and its variance.

    Args:
        runs: clip scores of each seed, of the same clips; `no_interval` has no reason.
    """
    result = jackknife(runs)
    count = len(runs)
    center = float(result.scores.mean())
    if count == 1:
        return Mean(center, Spread(float(result.covariance[0, 0]), result.freedom))
    shared = max(_between(result.covariance), 0.0)
    seeds = float(result.scores.var(ddof=1)) / count
    return Mean(center, Spread(shared, result.freedom, seeds, count - 1))


def logit_interval(center: float, spread: Spread, score: float) -> Interval:
    """Return an interval in (0, 1) that holds a score.

    Args:
        center: of the interval, in (0, 1).
        spread: of the centre.
        score: as displayed, which may be 1.
    """
    odds = np.log(center / (1 - center))
    # exp(-700) is the least that is no 0.
    step = min(spread.half_width / (center * (1 - center)), 700.0)
    low, high = (float(1 / (1 + np.exp(-np.clip(odds + s, -700, 700)))) for s in (-step, step))
    return min(low, score), max(high, score)


def lead_interval(first: Sequence[ClipScores], second: Sequence[ClipScores]) -> Interval | None:
    """Return the interval of the first's lead on the second, over other clips and other seeds.

    Args:
        first: clip scores of each seed of a configuration.
        second: likewise of another configuration, on the same clips.

    Returns:
        None with fewer than two seeds each, as another seed might turn any lead round, or where
        `no_interval` has a reason.
    """
    if min(len(first), len(second)) < 2 or no_interval([*first, *second]):
        return None
    result, count = jackknife([*first, *second]), len(first)
    halves = result.scores[:count], result.scores[count:]
    parts = [float(half.var(ddof=1)) / half.size for half in halves]
    freedom = satterthwaite(parts, [half.size - 1 for half in halves])
    covariance = result.covariance
    shared = (
        _between(covariance[:count, :count])
        + _between(covariance[count:, count:])
        - 2 * float(covariance[:count, count:].mean())
    )
    gap = float(np.mean([*map(clip_score, first)]) - np.mean([*map(clip_score, second)]))
    seeds = sum(parts)
    clips = max(shared, LEAST_SHARED * seeds)
    return _around(gap, Spread(clips, result.freedom, seeds, freedom, LEAD_BEND))


def paired_interval(first: ClipScores, second: ClipScores) -> Interval | None:
    """Return the interval of the second's score minus the first's, over other clips alone.

    Both are single trainings: nothing follows for other seeds.

    Returns:
        None where `no_interval` has a reason.
    """
    if no_interval([first, second]):
        return None
    result, weights = jackknife([first, second]), np.array([-1.0, 1.0])
    spread = Spread(float(weights @ result.covariance @ weights), result.freedom)
    return _around(clip_score(second) - clip_score(first), spread)


def _around(center: float, spread: Spread) -> Interval:
    return center - spread.half_width, center + spread.half_width


def _between(covariance: Floats) -> float:
    """Return the mean covariance between different runs of (runs, runs)."""
    count = len(covariance)
    return float((covariance.sum() - np.trace(covariance)) / (count * (count - 1)))
