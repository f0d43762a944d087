import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.neighbors import LocalOutlierFactor

from raysearch.scoring.fitting import FitError
from raysearch.scoring.neighbours import Knn, KnnLocal, Lof, Neighbourhood

Rows = NDArray[np.float64]


@pytest.fixture
def normal() -> Rows:
    return 1.0 + 0.2 * np.random.default_rng(0).standard_normal((60, 20))


@pytest.fixture
def unseen() -> Rows:
    return 1.0 + 0.4 * np.random.default_rng(1).standard_normal((15, 20))


def test_lof_by_hand() -> None:
    # Each of 0, 1, 2, 3 has its nearest neighbour at 1, so all densities are 1. Point 5 is 2
    # away from its neighbour 3, its density 1/2, and the neighbour's twice as high.
    assert Lof.fit(np.arange(4.0)[:, None], 1).score(np.array([[5.0]])) == pytest.approx([2.0])


def test_lof_is_about_one_for_inliers(normal: Rows) -> None:
    fresh = 1.0 + 0.2 * np.random.default_rng(2).standard_normal((50, 20))
    assert Lof.fit(normal, 8).score(fresh) == pytest.approx(np.ones(50), abs=0.3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    distinct=st.integers(3, 90),
    copies=st.sampled_from([1, 2, 10]),
    p=st.sampled_from([1, 2, 4, 16, 64, 65, 130]),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_lof_is_that_of_scikit_learn(
    seed: int, distinct: int, copies: int, p: int, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((distinct, 6)), rng.integers(1, copies + 1), axis=0)
    rows = rng.permutation(rows) + offset
    p = min(p, len(rows) - 1)
    # Segments that were fitted, too.
    unseen = np.concatenate([rng.standard_normal((20, 6)) + offset, rows[:10]])
    # Trees measure each distance by itself, so that equal segments are at the distance 0.
    theirs = LocalOutlierFactor(p, novelty=True, algorithm="kd_tree").fit(rows)
    expected = -theirs.score_samples(unseen)
    np.testing.assert_allclose(Lof.fit(rows, p).score(unseen), expected, rtol=1e-9)


@pytest.mark.parametrize("cosine", [False, True])
def test_the_nearest_segments_come_first_at_their_distances(
    normal: Rows, unseen: Rows, cosine: bool
) -> None:
    # Far from the origin, where products lose digits, and with segments at hand that repeat.
    segments = np.repeat(normal, 2, axis=0) + (0 if cosine else 1e4)
    rows = np.concatenate([unseen + (0 if cosine else 1e4), segments[:9]])
    if cosine:
        segments = segments / np.linalg.norm(segments, axis=1, keepdims=True)
    neighbourhood = Neighbourhood(segments, 50, cosine)
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = cdist(directions if cosine else rows, segments)
    indices, distances = neighbourhood.of(rows)
    assert indices.shape == (24, 50)
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :50], atol=1e-12)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, indices, axis=1), atol=1e-12)
    among = cdist(segments, segments)
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(
        neighbourhood.among.distances, np.sort(among, axis=1)[:, :50], atol=1e-12
    )
    assert (neighbourhood.among.indices != np.arange(120)[:, None]).all()


def test_fewer_segments_than_are_sought(normal: Rows) -> None:
    neighbourhood = Neighbourhood(normal, 64)
    assert neighbourhood.of(normal[:5]).indices.shape == (5, 60)
    assert neighbourhood.among.indices.shape == (60, 59)


@pytest.mark.parametrize("p", [1, 5, 60])
@pytest.mark.parametrize(("cosine", "metric"), [(False, "euclidean"), (True, "cosine")])
def test_knn_by_brute_force(normal: Rows, unseen: Rows, p: int, cosine: bool, metric: str) -> None:
    expected = np.sort(cdist(unseen, normal, metric), axis=1)[:, :p].mean(axis=1)  # type: ignore[call-overload]
    scores = Knn.fit(normal, p, cosine=cosine).score(unseen)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


@pytest.mark.parametrize("cosine", [False, True])
def test_knn_of_a_fitted_segment_is_zero(normal: Rows, cosine: bool) -> None:
    far = normal + 1e3  # where differences of squares lose all their digits
    np.testing.assert_array_equal(Knn.fit(far, 1, cosine=cosine).score(far), np.zeros(60))


def test_cosine_sees_directions_alone(normal: Rows, unseen: Rows) -> None:
    model = Knn.fit(normal, 4, cosine=True)
    lengths = np.linspace(0.1, 10, len(unseen))[:, None]
    np.testing.assert_allclose(model.score(lengths * unseen), model.score(unseen), rtol=1e-12)
    with pytest.raises(FitError, match="knn_cosine with p=4: all 9 embeddings have one direction"):
        Knn.fit(np.arange(1.0, 10)[:, None] * normal[0], 4, cosine=True)


@pytest.mark.parametrize("p", [1, 5, 59])
def test_knn_local_by_brute_force(normal: Rows, unseen: Rows, p: int) -> None:
    among = np.sort(cdist(normal, normal), axis=1)[:, 1 : p + 1].mean(axis=1)
    expected = (cdist(unseen, normal) / among).min(axis=1)
    np.testing.assert_allclose(KnnLocal.fit(normal, p).score(unseen), expected, rtol=1e-12)


def test_knn_local_is_fair_to_loose_places() -> None:
    tight = np.array([[0.0], [0.1], [0.2]])
    loose = np.array([[100.0], [110.0], [120.0]])
    model = KnnLocal.fit(np.concatenate([tight, loose]), 1)
    # As far away for its place, though a hundred times as far.
    assert model.score(np.array([[0.3], [130.0]])) == pytest.approx([1.0, 1.0])


def test_knn_local_counts_a_repeated_segment_once(normal: Rows, unseen: Rows) -> None:
    once, often = (KnnLocal.fit(np.repeat(normal, k, axis=0), 4) for k in (1, 10))
    np.testing.assert_array_equal(once.score(unseen), often.score(unseen))
    with pytest.raises(FitError, match=r"knn_local with p=4 needs at least 5 .*, has 4"):
        KnnLocal.fit(np.repeat(normal[:4], 10, axis=0), 4)
