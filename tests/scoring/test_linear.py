import numpy as np
import pytest
from numpy.typing import NDArray

from raysearch.scoring.fitting import FitError
from raysearch.scoring.linear import Mahalanobis, PcaResidual

Rows = NDArray[np.float64]


@pytest.fixture
def normal() -> Rows:
    rng = np.random.default_rng(0)
    return 3 + rng.standard_normal((200, 6)) * [10, 5, 2, 1, 0.5, 0.1] @ rng.standard_normal((6, 6))


@pytest.fixture
def unseen() -> Rows:
    return 10 * np.random.default_rng(1).standard_normal((15, 6))


@pytest.mark.parametrize("p", [0, 0.01, 0.5, 1])
def test_mahalanobis_by_its_formula(normal: Rows, unseen: Rows, p: float) -> None:
    sample_covariance = np.cov(normal.T, bias=True)
    covariance = (1 - p) * sample_covariance + p * np.trace(sample_covariance) / 6 * np.eye(6)
    apart = unseen - normal.mean(axis=0)
    expected = np.sqrt([row @ np.linalg.inv(covariance) @ row for row in apart])
    np.testing.assert_allclose(Mahalanobis.fit(normal, p).score(unseen), expected, rtol=1e-9)


def test_mahalanobis_refuses_a_singular_covariance(normal: Rows) -> None:
    for rows in (normal[:6], np.hstack([normal, normal[:, :1]])):
        with pytest.raises(FitError, match=r"p=0: the covariance of .* is singular, a larger p"):
            Mahalanobis.fit(rows, 0)
        assert np.isfinite(Mahalanobis.fit(rows, 0.01).score(rows)).all()


@pytest.mark.parametrize(("least", "is_singular"), [(7e-16, False), (6e-16, True), (1e-20, True)])
def test_a_covariance_is_singular_by_the_digits_of_its_greatest_variance(
    least: float, is_singular: bool
) -> None:
    """The limit is that of numpy's rank: 3 dimensions times 2.2e-16 of the greatest variance."""
    deviations = np.sqrt([1.0, least, 1e-3])
    rows = np.vstack([np.diag(deviations), -np.diag(deviations)]) * 3
    if is_singular:
        with pytest.raises(FitError, match="is singular"):
            Mahalanobis.fit(rows, 0)
    else:
        Mahalanobis.fit(rows, 0)


@pytest.mark.parametrize("p", [0.3, 0.9, 0.99])
def test_pca_by_its_formula(normal: Rows, unseen: Rows, p: float) -> None:
    values, vectors = np.linalg.eigh(np.cov(normal.T))
    shares = np.cumsum(values[::-1]) / values.sum()
    rest = vectors[:, ::-1][:, 1 + np.argmax(shares > p) :]
    assert 1 <= rest.shape[1] <= 5
    expected = np.linalg.norm((unseen - normal.mean(axis=0)) @ rest, axis=1)
    np.testing.assert_allclose(PcaResidual.fit(normal, p).score(unseen), expected, rtol=1e-9)


def test_pca_needs_a_dimension_to_be_left() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 3))
    with pytest.raises(FitError, match=r"pca with p=0\.999: takes all 3 dimensions"):
        PcaResidual.fit(rows, 0.999)
