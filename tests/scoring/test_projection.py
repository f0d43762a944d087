"""The plane: what lies together in many dimensions lies together on it."""

import numpy as np
import pytest

from raysearch.scoring.projection import project

pytestmark = pytest.mark.slow


def groups(count: int) -> np.ndarray:
    """Two groups of points, far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, (count, 8)), rng.normal(30, 1, (count, 8))])


def test_groups_stay_groups() -> None:
    placed = project(groups(20), seed=0)
    assert placed.shape == (40, 2)
    first, second = placed[:20], placed[20:]
    within = max(np.linalg.norm(each - each.mean(axis=0), axis=1).max() for each in (first, second))
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > within


def test_the_same_seed_gives_the_same_plane() -> None:
    assert np.array_equal(project(groups(10), seed=3), project(groups(10), seed=3))


def test_four_clips_are_enough() -> None:
    assert np.isfinite(project(groups(2), seed=0)).all()


def test_a_collapsed_encoder_has_a_plane_of_one_point() -> None:
    assert not project(np.ones((6, 8)), seed=0).any()


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        project(np.full((6, 8), np.nan), seed=0)
