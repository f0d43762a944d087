import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from raysearch.scoring.mixture import Mixture
from raysearch.scoring.spec import COVARIANCES

DIM = 6


@pytest.fixture
def normal() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.where(np.arange(200)[:, None] % 2, 1.0, 2.0) + 0.2 * rng.standard_normal((200, DIM))


def make(rows: NDArray[np.float64], p: int, covariance: str = "full", seed: int = 0) -> Mixture:
    return Mixture.fit(rows, p, covariance=covariance, seed=seed, reg_covar=1e-3)


@pytest.mark.parametrize("covariance", COVARIANCES.values())
def test_one_component_is_a_gaussian(normal: NDArray[np.float64], covariance: str) -> None:
    matrix = np.cov(normal.T, bias=True) + 1e-3 * np.eye(DIM)
    if covariance == "diag":
        matrix = np.diag(np.diag(matrix))
    unseen = 1.5 * normal
    expected = -multivariate_normal(normal.mean(axis=0), matrix).logpdf(unseen)
    np.testing.assert_allclose(make(normal, 1, covariance).score(unseen), expected)


@pytest.mark.parametrize("covariance", COVARIANCES.values())
def test_two_components_are_the_two_clusters(normal: NDArray[np.float64], covariance: str) -> None:
    parts = normal[0::2], normal[1::2]
    matrices = [np.cov(part.T, bias=True) for part in parts]
    if covariance == "tied":
        matrices = [(matrices[0] + matrices[1]) / 2] * 2
    if covariance == "diag":
        matrices = [np.diag(np.diag(matrix)) for matrix in matrices]
    logs = [
        multivariate_normal(part.mean(axis=0), matrix + 1e-3 * np.eye(DIM)).logpdf(normal)
        for part, matrix in zip(parts, matrices, strict=True)
    ]
    expected = np.log(2) - logsumexp(logs, axis=0)
    np.testing.assert_allclose(make(normal, 2, covariance).score(normal), expected, rtol=1e-6)


def test_the_middle_between_two_clusters_is_empty(normal: NDArray[np.float64]) -> None:
    single, double = (make(normal, p) for p in (1, 2))
    between = np.full((1, DIM), 1.5)
    # One Gaussian takes the empty middle for the most normal place of all; two do not.
    assert single.score(between) < single.score(normal).min()
    assert double.score(between) > double.score(normal).max()


def test_it_starts_from_its_seed(normal: NDArray[np.float64]) -> None:
    first, second = (make(normal, 8, seed=seed).score(normal) for seed in (0, 1))
    assert not np.allclose(first, second)
