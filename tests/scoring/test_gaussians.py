from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from raysearch.scoring.gaussians import Gaussians

Rows = NDArray[np.float64]


def clustered(seed: int, count: int, dim: int, spread: float) -> Rows:
    """Return rows of five clusters; with a wide spread they overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5, dim))
    shape = rng.standard_normal((5, dim, dim)) / np.sqrt(dim)
    rows = np.einsum("nd,nde->ne", rng.standard_normal((count, dim)), shape[np.arange(count) % 5])
    return np.asarray(centres[np.arange(count) % 5] + spread * rows)


def fit(rows: Rows, p: int, reg_covar: float = 1e-6) -> Gaussians:
    labels = KMeans(p, n_init=1, random_state=0).fit(rows).labels_
    return Gaussians.fit(rows, labels, p, reg_covar)


@pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning")
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(60, 200),
    dim=st.sampled_from([1, 2, 6, 33, 70]),
    spread=st.floats(0.2, 3),
    p=st.sampled_from([1, 2, 3, 8, 20]),
)
def test_it_is_the_mixture_of_scikit_learn(
    seed: int, count: int, dim: int, spread: float, p: int
) -> None:
    rows = clustered(seed, count, dim, spread)
    theirs = GaussianMixture(p, reg_covar=1e-3, random_state=0).fit(rows)
    mixture = fit(rows, p, 1e-3)
    np.testing.assert_allclose(mixture.weights, theirs.weights_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mixture.means, theirs.means_, rtol=1e-6, atol=1e-9)
    unseen = clustered(seed + 1, 50, dim, 2 * spread)
    np.testing.assert_allclose(
        mixture.log_density(unseen), theirs.score_samples(unseen), rtol=1e-6, atol=1e-6
    )


def test_components_that_overlap_take_many_steps_as_in_scikit_learn() -> None:
    rows = clustered(0, 300, 2, 2.0)
    theirs = GaussianMixture(4, random_state=0).fit(rows)
    assert theirs.n_iter_ > 5
    np.testing.assert_allclose(
        fit(rows, 4).log_density(rows), theirs.score_samples(rows), rtol=1e-9
    )


@pytest.mark.parametrize("dim", [1, 31, 32, 33, 64, 100])
def test_the_density_is_that_of_all_components(dim: int) -> None:
    """A component that is left out of a row's density would not change a digit of it."""
    rng = np.random.default_rng(dim)
    factors = np.triu(rng.standard_normal((6, dim, dim)) / np.sqrt(dim))
    factors[:, np.arange(dim), np.arange(dim)] = rng.uniform(0.5, 2, (6, dim))
    weights = rng.dirichlet(np.ones(6))
    means = rng.standard_normal((6, dim))
    rows = means[np.arange(90) % 6] + rng.standard_normal((90, dim)) * rng.uniform(0, 4, (90, 1))
    logs = [
        multivariate_normal(mean, np.linalg.inv(factor @ factor.T)).logpdf(rows) + np.log(weight)
        for mean, factor, weight in zip(means, factors, weights, strict=True)
    ]
    mixture = Gaussians(weights, means, factors)
    joint = mixture.log_joint(rows)
    expected = np.transpose(logs)
    present = np.isfinite(joint)
    np.testing.assert_allclose(joint[present], expected[present], rtol=1e-6)
    lost = expected.max(axis=1)[:, None] - expected
    assert (lost[~present] > 39).all()
    assert present.any(axis=1).all()
    np.testing.assert_allclose(mixture.log_density(rows), logsumexp(logs, axis=0), rtol=1e-9)


def test_most_components_are_left_out_in_many_dimensions() -> None:
    rows = clustered(0, 300, 100, 0.2)
    assert np.isfinite(fit(rows, 5, 1e-3).log_joint(rows)).sum() == len(rows)


def test_the_factors_are_triangular_and_invert_the_covariance() -> None:
    rows = clustered(0, 200, 40, 1.0)
    (factor,) = Gaussians.fit(rows, np.zeros(200, int), 1, 1e-3).factors
    np.testing.assert_array_equal(factor, np.triu(factor))
    covariance = np.cov(rows.T, bias=True) + 1e-3 * np.eye(40)
    np.testing.assert_allclose(factor @ factor.T @ covariance, np.eye(40), atol=1e-9)


def test_a_component_without_segments_adds_nothing() -> None:
    rows = clustered(0, 100, 6, 0.5) + 10
    labels = np.arange(100) % 2
    two, three = (Gaussians.fit(rows, labels, p, 1e-3) for p in (2, 3))
    np.testing.assert_allclose(three.log_density(rows), two.log_density(rows), rtol=1e-9)
    assert three.weights[2] < 1e-15


def test_a_singular_covariance_is_refused_with_the_way_out() -> None:
    rows = clustered(0, 10, 20, 1.0)
    with pytest.raises(ValueError, match="singular with reg_covar 0; a larger reg_covar or"):
        Gaussians.fit(rows, np.zeros(10, int), 1, 0.0)


def test_arrays_of_other_sizes_are_refused() -> None:
    rows = clustered(0, 100, 40, 1.0)
    mixture = fit(rows, 2)
    with pytest.raises(ValueError, match=r"39 dimensions, .* means \(2, 40\) and factors"):
        mixture.log_density(rows[:, :-1])
    damaged = (
        replace(mixture, weights=mixture.weights[:1]),
        replace(mixture, means=mixture.means[:, :-1]),
        replace(mixture, factors=mixture.factors[..., :-1]),
        replace(mixture, factors=mixture.factors[:1]),
    )
    for other in damaged:
        with pytest.raises(ValueError, match="40 dimensions, and a mixture of weights"):
            other.log_density(rows)
