"""The contract that every inlier model keeps, then what is special about each."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from raysearch.errors import UserError
from raysearch.score.inlier import (
    COVARIANCES,
    INLIERS,
    FitError,
    Gmm,
    InlierSpec,
    Lof,
    ProductProbability,
    aggregate,
    build,
    remark,
    restore,
)

DIM = 20  # beyond 15 dimensions LOF searches as it does for real embeddings
MODELS = [
    pytest.param(InlierSpec("gmm", 1), "full", id="gmm-1"),
    pytest.param(InlierSpec("gmm", 4), "full", id="gmm-4"),
    pytest.param(InlierSpec("gmm", 32), "full", id="gmm-32-degenerate"),
    pytest.param(InlierSpec("gmm", 4), "diag", id="gmm-4-diag"),
    pytest.param(InlierSpec("gmm", DIM), "tied", id="gmm-tied"),
    pytest.param(InlierSpec("gmm", DIM), "diag", id="gmm-diag-square"),
    pytest.param(InlierSpec("lof", 1), "full", id="lof-1"),
    pytest.param(InlierSpec("lof", 16), "full", id="lof-16"),
    pytest.param(InlierSpec("none", None), "full", id="none"),
]
FITTED = [param for param in MODELS if param.values[0].name != "none"]
each_model = pytest.mark.parametrize(("spec", "covariance"), MODELS)
each_fitted_model = pytest.mark.parametrize(("spec", "covariance"), FITTED)


@pytest.fixture
def normal():
    """Segments of two clusters, as float32 embeddings on the positive side of the head."""
    rng = np.random.default_rng(0)
    centres = np.where(np.arange(200)[:, None] % 2, 1.0, 2.0)
    return (centres + 0.2 * rng.standard_normal((200, DIM))).astype(np.float32)


@pytest.fixture
def unseen():
    rng = np.random.default_rng(1)
    return (1.5 + 0.6 * rng.standard_normal((30, DIM))).astype(np.float32)


def make(spec, covariance="full", seed=0, reg_covar=1e-6):
    head_row = np.full(DIM, 0.1, dtype=np.float32)
    return build(spec, seed=seed, covariance=covariance, reg_covar=reg_covar, head_row=head_row)


def test_every_model_is_under_contract():
    assert {param.values[0].name for param in MODELS} == set(INLIERS)
    assert {param.values[1] for param in MODELS} == set(COVARIANCES)


@each_model
def test_scores_are_one_finite_float64_a_segment(spec, covariance, normal, unseen):
    model = make(spec, covariance)
    assert model.fit(normal) is model
    scores = model.score(unseen)
    assert scores.shape == (30,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@each_model
def test_far_segments_score_higher(spec, covariance, normal):
    model = make(spec, covariance).fit(normal)
    far = np.array([np.full(DIM, -2.0), np.full(DIM, -8.0)])
    inside, near, further = model.score(normal).max(), *model.score(far)
    assert inside < near < further


@each_model
def test_fitting_is_deterministic_and_leaves_its_input(spec, covariance, normal, unseen):
    before = normal.copy()
    first, second = (make(spec, covariance).fit(normal).score(unseen) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(normal, before)


@each_model
def test_a_segment_scores_the_same_alone_and_in_a_batch(spec, covariance, normal, unseen):
    model = make(spec, covariance).fit(normal)
    alone = np.concatenate([model.score(unseen[i : i + 1]) for i in range(len(unseen))])
    np.testing.assert_allclose(alone, model.score(unseen), rtol=1e-9, atol=1e-9)


@each_model
def test_arrays_restore_the_model(spec, covariance, normal, unseen):
    model = make(spec, covariance).fit(normal)
    saved = {key: array.copy() for key, array in model.arrays().items()}
    assert all(isinstance(a, np.ndarray) and a.dtype.kind in "fi" for a in saved.values())
    again = restore(spec.name, spec.p, saved)
    np.testing.assert_allclose(again.score(unseen), model.score(unseen), rtol=1e-9, atol=1e-9)
    for key, array in again.arrays().items():
        np.testing.assert_array_equal(array, saved[key])


@each_model
def test_a_fitted_model_does_not_follow_its_input(spec, covariance, normal, unseen):
    rows = normal.astype(np.float64)
    model = make(spec, covariance).fit(rows)
    before = model.score(unseen)
    rows += 5
    np.testing.assert_array_equal(model.score(unseen), before)
    again = restore(spec.name, spec.p, model.arrays())
    np.testing.assert_allclose(again.score(unseen), before, rtol=1e-9)


@each_model
def test_scoring_refuses_embeddings_that_are_not_finite(spec, covariance, normal, unseen):
    unseen[3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        make(spec, covariance).fit(normal).score(unseen)


@each_fitted_model
def test_fitting_refuses_embeddings_that_are_not_finite(spec, covariance, normal):
    normal[3, 0] = np.inf
    with pytest.raises(FitError, match="not finite"):
        make(spec, covariance).fit(normal)


@each_fitted_model
def test_fitting_refuses_a_collapsed_encoder(spec, covariance):
    with pytest.raises(FitError, match="all 50 embeddings are equal"):
        make(spec, covariance).fit(np.ones((50, DIM)))


@each_fitted_model
def test_fitting_takes_the_fewest_segments_and_refuses_one_less(spec, covariance, normal, unseen):
    fewest = max(2, spec.p + (spec.name == "lof"))
    assert np.isfinite(make(spec, covariance).fit(normal[:fewest]).score(unseen)).all()
    message = f"{spec.name} with p={spec.p} needs at least {fewest} segments, has {fewest - 1}"
    with pytest.raises(FitError, match=message):
        make(spec, covariance).fit(normal[: fewest - 1])


@each_fitted_model
def test_repeated_segments_can_be_fitted(spec, covariance, normal, unseen):
    """Clips shorter than a segment give the same segment ten times."""
    scores = make(spec, covariance).fit(np.repeat(normal[:20], 10, axis=0)).score(unseen)
    assert np.isfinite(scores).all()


def test_gmm_of_one_component_is_a_gaussian(normal, unseen):
    rows = normal.astype(np.float64)
    covariance = np.cov(rows.T, bias=True) + 1e-3 * np.eye(DIM)
    expected = -multivariate_normal(rows.mean(axis=0), covariance).logpdf(unseen)
    np.testing.assert_allclose(Gmm(1, reg_covar=1e-3).fit(normal).score(unseen), expected)


def test_gmm_finds_its_clusters(normal, unseen):
    one, two = (Gmm(p).fit(normal) for p in (1, 2))
    between = np.full((1, DIM), 1.5)
    # One Gaussian takes the empty middle for the most normal place of all; two do not.
    assert one.score(between) < one.score(normal).min()
    assert two.score(between) > two.score(normal).max()


def test_gmm_starts_from_its_seed(normal, unseen):
    scores = [Gmm(8, seed=seed).fit(normal).score(unseen) for seed in (0, 1)]
    assert not np.allclose(*scores)


def test_gmm_says_why_a_fit_failed(normal):
    with pytest.raises(FitError, match="gmm with p=64 could not be fitted: "):
        Gmm(64, reg_covar=0.0).fit(normal)


def test_gmm_refuses_an_unknown_covariance():
    with pytest.raises(UserError, match="unknown covariance 'spherical'"):
        Gmm(2, covariance="spherical")


def test_lof_is_about_one_for_inliers(normal):
    rng = np.random.default_rng(2)
    fresh = 1.0 + 0.2 * rng.standard_normal((50, DIM))
    assert Lof(8).fit(normal).score(fresh) == pytest.approx(np.ones(50), abs=0.3)


def test_lof_by_hand():
    # Each of 0, 1, 2, 3 has its nearest neighbour at 1, so all densities are 1. Point 5 is 2
    # away from its neighbour 3, its density 1/2, and the neighbour's twice as high.
    model = Lof(1).fit(np.arange(4.0)[:, None])
    assert model.score(np.array([[5.0]])) == pytest.approx([2.0])


def test_product_probability_by_hand():
    model = ProductProbability(np.array([1.0, -2.0]))
    embeddings = np.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, 50.0], [50.0, 0.0]])
    expected = [0.5, 0.25, 1.0, np.exp(-50.0)]
    np.testing.assert_allclose(model.fit(embeddings).score(embeddings), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "p", "message"),
    [
        ("knn", 3, "unknown inlier model 'knn'.*gmm, lof, none"),
        ("none", 2, "none takes no p"),
        ("gmm", None, "gmm needs an integer p >= 1, got p=None"),
        ("lof", 0, "lof needs an integer p >= 1, got p=0"),
        ("gmm", 2.0, "gmm needs an integer p >= 1, got p=2.0"),
    ],
)
def test_spec_refuses(name, p, message):
    with pytest.raises(UserError, match=message):
        InlierSpec(name, p)


@pytest.mark.parametrize(
    ("spec", "n_segments", "covariance", "expected"),
    [
        (
            InlierSpec("gmm", 64),
            1000,
            "full",
            "degenerate: 64 full components on 1000 segments in 128 dimensions",
        ),
        (
            InlierSpec("gmm", 1),
            128,
            "full",
            "degenerate: 1 full component on 128 segments in 128 dimensions",
        ),
        (InlierSpec("gmm", 1), 129, "full", ""),
        (InlierSpec("gmm", 2), 258, "full", ""),
        (InlierSpec("gmm", 64), 1000, "diag", ""),
        (InlierSpec("lof", 16), 17, "full", ""),
        (InlierSpec("none", None), 1, "full", ""),
    ],
)
def test_remark_on_degenerate_fits(spec, n_segments, covariance, expected):
    assert remark(spec, n_segments, 128, covariance) == expected


def test_gmm_aggregator_is_the_mean_above_the_median():
    segments = [
        [1.0, 9.0, 2.0, 5.0],  # median 3.5: mean of 9 and 5
        [3.0, 1.0, 2.0, 2.0],  # median 2: 3 alone
        [1.0, 2.0, 2.0, 2.0],  # median 2, none above it
        [4.0, 4.0, 4.0, 4.0],
    ]
    np.testing.assert_allclose(aggregate("gmm", np.array(segments)), [7.0, 3.0, 2.0, 4.0])
    np.testing.assert_allclose(aggregate("gmm", np.array([[5.0, 1.0, 3.0]])), [5.0])


@pytest.mark.parametrize("name", ["lof", "none"])
def test_other_aggregators_are_the_mean(name):
    np.testing.assert_allclose(aggregate(name, np.array([[1.0, 9.0, 2.0], [0, 0, 3]])), [4.0, 1.0])


@pytest.mark.parametrize("name", INLIERS)
def test_aggregator_of_one_segment_is_its_score(name):
    np.testing.assert_array_equal(aggregate(name, np.array([[-3.0], [7.0]])), [-3.0, 7.0])


def test_gmm_aggregator_looks_at_the_anomalous_half():
    """The published recipes take the most normal half by a sign error."""
    quiet, one_fault = np.zeros(10), np.r_[np.zeros(9), 10.0]
    scores = aggregate("gmm", np.stack([quiet, one_fault]))
    np.testing.assert_array_equal(scores, [0.0, 10.0])
