import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import gamma

from raysearch.scoring.threshold import FEWEST_SCORES, gamma_threshold

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize("shape", [2.0, 5.0, 50.0])
@pytest.mark.parametrize("location", [0.0, -400.0])
def test_recovers_the_percentile_of_a_gamma_distribution(shape: float, location: float) -> None:
    scores = location + gamma.rvs(shape, size=20_000, random_state=1)
    expected = location + gamma.ppf(0.9, shape)
    assert gamma_threshold(scores) == pytest.approx(expected, abs=0.04 * np.sqrt(shape))


def test_is_a_fit_and_no_empirical_percentile() -> None:
    scores = gamma.rvs(3.0, size=100, random_state=4)
    threshold = gamma_threshold(scores)
    assert threshold != pytest.approx(np.quantile(scores, 0.9), abs=1e-6)
    assert threshold == pytest.approx(gamma.ppf(0.9, 3.0), rel=0.15)


@calm
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_moves_and_stretches_with_the_scores(seed: int, scale: float, shift: float) -> None:
    scores = np.random.default_rng(seed).gamma(2.0, size=60)
    expected = scale * gamma_threshold(scores) + shift
    assert gamma_threshold(scale * scores + shift) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@calm
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_is_finite_deterministic_and_near_its_share_for_any_scores(
    values: list[float], quantile: float
) -> None:
    scores = np.array(values)
    threshold = gamma_threshold(scores, quantile)
    assert np.isfinite(threshold)
    assert threshold == gamma_threshold(scores.copy(), quantile)
    # Empirical percentiles lie between two scores, so the share is off by one score at the most.
    allowed = 2 * np.sqrt(quantile * (1 - quantile) / len(scores)) + 1 / len(scores)
    assert np.mean(scores < threshold) <= quantile + allowed
    assert np.mean(scores <= threshold * (1 + 1e-12 * np.sign(threshold))) >= quantile - allowed


def test_a_higher_quantile_gives_a_higher_threshold() -> None:
    scores = gamma.rvs(2.0, size=200, random_state=0)
    thresholds = [gamma_threshold(scores, q) for q in (0.5, 0.8, 0.9, 0.99)]
    assert thresholds == sorted(set(thresholds))


@pytest.mark.parametrize(
    "scores",
    [
        np.arange(FEWEST_SCORES - 1) ** 2.0,  # too few
        -gamma.rvs(2.0, size=100, random_state=0),  # skewed to the left
        np.linspace(0, 1, 101),  # symmetric
        np.append(gamma.rvs(2.0, size=199, random_state=0), 1e10),  # one far outlier
    ],
    ids=["few", "left", "symmetric", "outlier"],
)
def test_falls_back_to_the_empirical_percentile(scores: NDArray[np.float64]) -> None:
    assert gamma_threshold(scores) == np.quantile(scores, 0.9)


@calm
@given(st.integers(1, 60), st.floats(-1e6, 1e6))
def test_equal_scores_are_their_own_threshold(count: int, score: float) -> None:
    assert gamma_threshold(np.full(count, score)) == score


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [[1.0, 2.0]]])
def test_refuses_scores_without_a_threshold(scores: list[float] | list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        gamma_threshold(np.array(scores))


@pytest.mark.parametrize("quantile", [0.0, 1.0, 90.0])
def test_refuses_a_quantile_that_is_no_share(quantile: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        gamma_threshold(np.arange(10.0), quantile)
