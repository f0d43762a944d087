"""The contract that every inlier model keeps."""

from contextlib import suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from raysearch.scoring.direct import ProductProbability
from raysearch.scoring.inlier import (
    INLIERS,
    FitError,
    InlierModel,
    InlierSpec,
    fit,
    remark,
    restore,
    score_blocks,
)

DIM = 20  # beyond 15 dimensions LOF searches as it does for real embeddings
SPECS = [
    InlierSpec("gmm", 1),
    InlierSpec("gmm", 4),
    InlierSpec("gmm", 32),  # degenerate: 6 segments a component
    InlierSpec("gmm_diag", 4),
    InlierSpec("gmm_diag", DIM),  # its arrays have the shape of tied ones
    InlierSpec("gmm_tied", DIM),
    InlierSpec("lof", 1),
    InlierSpec("lof", 16),
    InlierSpec("knn", 1),
    InlierSpec("knn", 16),
    InlierSpec("knn_cosine", 1),
    InlierSpec("knn_cosine", 16),
    InlierSpec("knn_local", 1),
    InlierSpec("knn_local", 16),
    InlierSpec("mahalanobis", 0),
    InlierSpec("mahalanobis", 0.1),
    InlierSpec("mahalanobis", 1.0),
    InlierSpec("pca", 0.5),
    InlierSpec("pca", 0.95),
    InlierSpec("ocsvm", 0.01),
    InlierSpec("ocsvm", 0.5),
    InlierSpec("kde", 0.5),
    InlierSpec("kde", 2),
    InlierSpec("none", None),
]
FITTED = [spec for spec in SPECS if spec.name != "none"]
SCALE_FREE = [spec for spec in FITTED if not spec.name.startswith("gmm")]
each_model = pytest.mark.parametrize("spec", SPECS, ids=str)
each_fitted_model = pytest.mark.parametrize("spec", FITTED, ids=str)

Rows = NDArray[np.float32]


@pytest.fixture
def normal() -> Rows:
    """Segments of two clusters, as float32 embeddings on the positive side of the head."""
    rng = np.random.default_rng(0)
    centres = np.where(np.arange(200)[:, None] % 2, 1.0, 2.0) * np.linspace(0.8, 1.2, DIM)
    return (centres + 0.2 * rng.standard_normal((200, DIM))).astype(np.float32)


@pytest.fixture
def unseen() -> Rows:
    rng = np.random.default_rng(1)
    return (1.5 + 0.6 * rng.standard_normal((30, DIM))).astype(np.float32)


def make(spec: InlierSpec, embeddings: NDArray[np.floating], seed: int = 0) -> InlierModel:
    direct = ProductProbability(np.full(DIM, 0.1))
    return fit(spec, embeddings, seed=seed, reg_covar=1e-6, direct=direct)


def test_every_model_is_under_contract() -> None:
    assert {spec.name for spec in SPECS} == set(INLIERS)


@each_model
def test_scores_are_one_finite_float64_a_segment(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    model = make(spec, normal)
    scores = model.score(unseen)
    assert scores.shape == (30,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert model.score(unseen[:0]).shape == (0,)


@each_model
def test_far_segments_score_higher(spec: InlierSpec, normal: Rows) -> None:
    model = make(spec, normal)
    # Away from the mean, out of the plane of the clusters, and further from the head's side.
    out = np.where(np.arange(DIM) % 2, 1.0, -1.6)
    near, further = model.score(np.array([normal.mean(axis=0) + 3 * out, 9 * out]))
    assert model.score(normal).max() < near < further


@each_model
def test_fitting_is_deterministic_and_leaves_its_input(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    before = normal.copy()
    first, second = (make(spec, normal).score(unseen) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(normal, before)


@each_model
def test_a_segment_scores_the_same_alone_and_in_a_batch(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    model = make(spec, normal)
    # Segments that were fitted, too: nothing may be lost at the distance 0.
    batch = np.concatenate([unseen, normal[:10]])
    whole = model.score(batch)
    alone = np.concatenate([model.score(batch[i : i + 1]) for i in range(len(batch))])
    np.testing.assert_allclose(alone, whole, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.score(batch[::-1])[::-1], whole, rtol=1e-9, atol=1e-9)


@each_model
def test_any_number_of_segments_is_scored(spec: InlierSpec, normal: Rows, unseen: Rows) -> None:
    model = make(spec, normal)
    many = model.score(np.tile(unseen, (100, 1)))
    np.testing.assert_allclose(many, np.tile(model.score(unseen), 100), rtol=1e-9, atol=1e-9)


@each_model
def test_arrays_restore_the_model_to_the_last_digit(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    model = make(spec, normal)
    saved = {key: array.copy(order="F") for key, array in model.arrays().items()}
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float64 for a in saved.values())
    again = restore(spec.name, spec.p, saved)
    np.testing.assert_array_equal(again.score(unseen), model.score(unseen))
    assert again.arrays().keys() == saved.keys()
    for key, array in again.arrays().items():
        np.testing.assert_array_equal(array, saved[key])


@each_model
def test_a_fitted_model_does_not_follow_its_input(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    rows = normal.astype(np.float64)
    model = make(spec, rows)
    rows += 5
    np.testing.assert_array_equal(model.score(unseen), make(spec, normal).score(unseen))


@pytest.mark.parametrize("spec", SCALE_FREE, ids=str)
@pytest.mark.parametrize("scale", [2.0**-10, 2.0**10])
def test_the_scale_of_embeddings_changes_no_order(
    spec: InlierSpec, scale: float, normal: Rows, unseen: Rows
) -> None:
    scores, scaled = (make(spec, k * normal).score(k * unseen) for k in (1.0, scale))
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(scaled))


@each_model
def test_scoring_refuses_embeddings_that_are_not_finite(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    unseen[3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        make(spec, normal).score(unseen)


@each_fitted_model
def test_fitting_refuses_embeddings_that_are_not_finite(spec: InlierSpec, normal: Rows) -> None:
    normal[3, 0] = np.inf
    with pytest.raises(FitError, match="not finite"):
        make(spec, normal)


@each_fitted_model
def test_fitting_refuses_a_collapsed_encoder(spec: InlierSpec) -> None:
    with pytest.raises(FitError, match="all 50 embeddings are equal"):
        make(spec, np.ones((50, DIM)))


@each_fitted_model
def test_fitting_takes_the_fewest_segments_and_refuses_one_less(
    spec: InlierSpec, normal: Rows, unseen: Rows
) -> None:
    counts = isinstance(spec.p, int) and spec.name not in ("mahalanobis", "kde")
    fewest = max(2, int(spec.p or 0) + (spec.name in ("lof", "knn_local"))) if counts else 2
    if spec == InlierSpec("mahalanobis", 0):
        fewest = DIM + 1
    assert np.isfinite(make(spec, normal[:fewest]).score(unseen)).all()
    with pytest.raises(FitError, match=f"{spec}.*(needs at least {fewest} segments|singular)"):
        make(spec, normal[: fewest - 1])


@each_fitted_model
def test_repeated_segments_can_be_fitted(spec: InlierSpec, normal: Rows, unseen: Rows) -> None:
    """Clips shorter than a segment give the same segment ten times."""
    scores = make(spec, np.repeat(normal[::8], 10, axis=0)).score(unseen)
    assert np.isfinite(scores).all()


@each_fitted_model
@pytest.mark.parametrize("kind", ["a line", "a dead dimension", "two places"])
def test_degenerate_embeddings_are_fitted_or_refused_with_a_reason(
    spec: InlierSpec, kind: str, normal: Rows, unseen: Rows
) -> None:
    if kind == "a line":
        normal = np.arange(200, dtype=np.float32)[:, None] * np.ones(DIM, np.float32)
    elif kind == "a dead dimension":
        normal[:, 7] = 0.0
    else:
        normal = normal[[0] * 100 + [1] * 100]
    with suppress(FitError):
        assert np.isfinite(make(spec, normal).score(unseen)).all()
        return
    with pytest.raises(FitError, match=rf"^{spec}[^\n]+$"):
        make(spec, normal)


def test_what_a_library_complains_of_is_a_reason(normal: Rows) -> None:
    with pytest.raises(FitError, match=r"^gmm with p=64 could not be fitted: .*[^\n]$"):
        fit(
            InlierSpec("gmm", 64),
            normal,
            seed=0,
            reg_covar=0.0,
            direct=ProductProbability(normal[0]),
        )


@pytest.mark.parametrize(
    ("spec", "n_segments", "expected"),
    [
        (
            ("gmm", 64),
            1000,
            "degenerate: 64 full components on 1000 segments of 13 clips in 128 dimensions",
        ),
        (
            ("gmm", 1),
            128,
            "degenerate: 1 full component on 128 segments of 13 clips in 128 dimensions",
        ),
        (("gmm", 1), 129, ""),
        (("gmm", 2), 258, ""),
        (("gmm_diag", 64), 1000, ""),
        (
            ("gmm_diag", 64),
            127,
            "degenerate: 64 diag components on 127 segments of 13 clips in 128 dimensions",
        ),
        (("gmm_tied", 2), 130, ""),
        (
            ("gmm_tied", 2),
            129,
            "degenerate: 2 tied components on 129 segments of 13 clips in 128 dimensions",
        ),
        (("lof", 16), 17, ""),
        (("pca", 0.5), 2, ""),
        (("none", None), 1, ""),
    ],
)
def test_remark_on_degenerate_fits(
    spec: tuple[str, float | None], n_segments: int, expected: str
) -> None:
    assert remark(InlierSpec(*spec), 13, n_segments, 128) == expected


def test_blocks_have_the_scores_of_all_rows_at_once(normal: Rows) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(1, 1, (2600, DIM)).astype(np.float32)
    specs = InlierSpec("gmm", 4), InlierSpec("mahalanobis", 0.1), InlierSpec("knn", 5)
    models = [fit(spec, normal, seed=0, reg_covar=1e-3, direct=None) for spec in specs]
    expected = np.stack([model.score(rows) for model in models])
    for size in (1, 160, 1024, 2000, 2600):
        blocks = [rows[i : i + size] for i in range(0, len(rows), size)]
        scores = [*score_blocks(models, blocks)]
        assert [part.shape for part in scores] == [(3, 1024), (3, 1024), (3, 552)]
        np.testing.assert_array_equal(np.concatenate(scores, axis=1), expected)
