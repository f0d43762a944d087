"""The bootstrap over clips, against the plain way of doing it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from raysearch.scoring.bootstrap import (
    ClipScores,
    interval,
    resampled_areas,
    resampled_scores,
)
from raysearch.scoring.metrics import auc_pauc, machine_score

Floats = NDArray[np.float64]


@settings(max_examples=100, deadline=None)
@given(
    clips=st.lists(
        st.tuples(
            st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 1.0, 3.0, 7.5]), st.integers(0, 3)
        ),
        min_size=2,
        max_size=40,
    )
)
def test_areas_of_counted_clips_are_those_of_clips_repeated(
    clips: list[tuple[bool, float, int]],
) -> None:
    clips = [(False, 0.1, 1), (True, 0.2, 1), *clips]
    labels = np.array([int(label) for label, _, _ in clips], np.int64)
    scores = np.array([score for _, score, _ in clips])
    times = np.array([count for _, _, count in clips], np.int64)
    counts = np.stack([np.ones_like(times), times])
    auc, pauc = resampled_areas(labels, scores, counts)
    for k, count in enumerate(counts):
        expected = auc_pauc(np.repeat(labels, count), np.repeat(scores, count))
        assert (auc[k], pauc[k]) == pytest.approx(expected, abs=1e-12)


def judged(seed: int, clips: int = 60, lead: float = 1.0) -> ClipScores:
    """Three IDs on which anomalies score higher by `lead` standard deviations."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1], np.int64), [clips, clips - 10])
    return {
        identity: (labels, generator.normal(size=labels.size) + lead * labels)
        for identity in ("0", "1", "2")
    }


def point(run: ClipScores) -> float:
    return machine_score({k: v[0] for k, v in run.items()}, {k: v[1] for k, v in run.items()}).hmean


def test_the_interval_is_that_of_scipy() -> None:
    run = judged(1, clips=30)
    strata = [values[labels == label] for labels, values in run.values() for label in (0, 1)]

    def score(*samples: Floats) -> float:
        pairs = {k: (samples[2 * k], samples[2 * k + 1]) for k in range(3)}
        labels = {str(k): np.repeat([0, 1], [a.size, b.size]) for k, (a, b) in pairs.items()}
        values = {str(k): np.concatenate(pair) for k, pair in pairs.items()}
        return machine_score(labels, values).hmean

    assert score(*strata) == pytest.approx(point(run))
    expected = bootstrap(
        strata, score, vectorized=False, n_resamples=200, method="percentile", rng=3
    ).confidence_interval
    estimated = interval(resampled_scores([run], 0)[0])
    # Two draws of a quantile: each a few thousandths off.
    assert estimated == pytest.approx((expected.low, expected.high), abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_score_and_narrows_with_more_clips(seed: int) -> None:
    widths = []
    for clips in (30, 300):
        run = judged(seed, clips)
        low, high = interval(resampled_scores([run], 0)[0])
        assert low < point(run) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_draws_follow_from_the_seed_alone() -> None:
    runs = [judged(1), judged(2)]
    again = resampled_scores(runs, 5)
    np.testing.assert_array_equal(resampled_scores(runs, 5), again)
    assert not np.array_equal(resampled_scores(runs, 6), again)
    # Who else is compared changes nothing.
    np.testing.assert_array_equal(resampled_scores(runs[1:], 5)[0], again[1])


def test_runs_are_paired() -> None:
    run = judged(1)
    same, other = ({k: (n, scale * v) for k, (n, v) in run.items()} for scale in (3.0, -1.0))
    first, second, third = resampled_scores([run, same, other], 0)
    np.testing.assert_array_equal(first, second)
    assert (first > third).all()


def test_a_perfect_run_has_no_width_and_a_hopeless_one_no_score() -> None:
    labels = np.array([0, 0, 0, 1, 1], np.int64)
    perfect = resampled_scores([{"0": (labels, labels.astype(float))}], 0)
    assert interval(perfect[0]) == (1.0, 1.0)
    hopeless = resampled_scores([{"0": (labels, 1.0 - labels.astype(np.float64))}], 0)
    assert interval(hopeless[0]) == (0.0, 0.0)
