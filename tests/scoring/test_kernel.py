import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import KernelDensity
from sklearn.svm import OneClassSVM

from raysearch.scoring.kernel import KernelSum

Rows = NDArray[np.float64]


@pytest.fixture
def normal() -> Rows:
    return np.arange(5) + 0.2 * np.random.default_rng(0).standard_normal((100, 5))


@pytest.fixture
def unseen() -> Rows:
    return np.arange(5) + 0.3 * np.random.default_rng(1).standard_normal((30, 5))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.999])
def test_ocsvm_is_scikit_learns_on_a_logarithmic_scale(
    normal: Rows, unseen: Rows, p: float
) -> None:
    mean = normal.mean(axis=0)
    machine = OneClassSVM(nu=p).fit(normal - mean)
    expected = -np.log(machine.score_samples(unseen - mean) / machine.offset_)
    scores = KernelSum.ocsvm(normal, p).score(unseen)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(scores > 0, machine.decision_function(unseen - mean) < 0)


def test_ocsvm_leaves_its_share_outside(normal: Rows) -> None:
    outside = [(KernelSum.ocsvm(normal, p).score(normal) > 0).mean() for p in (0.1, 0.5, 0.9)]
    assert outside == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


@pytest.mark.parametrize("p", [0.2, 1, 5])
def test_kde_is_scikit_learns_with_a_scaled_bandwidth(normal: Rows, unseen: Rows, p: float) -> None:
    spread = np.sqrt(normal.var(axis=0).mean())
    # What scikit-learn calls "silverman" leaves the spread out.
    silverman = KernelDensity(bandwidth="silverman").fit(normal).bandwidth_
    # One leaf: with more of them it is wrong by up to 100 nats here.
    density = KernelDensity(bandwidth=p * spread * silverman, leaf_size=1000).fit(normal)
    scores = KernelSum.density(normal, p).score(unseen)
    np.testing.assert_allclose(scores, -density.score_samples(unseen), rtol=1e-9)


def test_no_sum_vanishes_far_away(normal: Rows) -> None:
    far = np.array([1e3, 1e4, 1e5])[:, None] * np.ones((3, 5))
    for model in (KernelSum.ocsvm(normal, 0.1), KernelSum.density(normal, 0.1)):
        scores = model.score(far)
        assert np.isfinite(scores).all()
        assert (np.diff(scores) > 0).all()
