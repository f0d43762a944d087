import numpy as np
import pytest

from raysearch.scoring.fitting import FitError, fit_rows


def test_an_encoder_has_collapsed_if_all_segments_are_equal() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 3))
    # A unit that is always 0 is no collapse, nor is one that alone differs.
    for kept in ([0, 1], [0], [2]):
        alive = np.zeros((5, 3))
        alive[:, kept] = rows[:, kept]
        np.testing.assert_array_equal(fit_rows(alive, fewest=2, model="gmm"), alive)
    alike = np.repeat(rows[:, :1], 3, axis=1)
    np.testing.assert_array_equal(fit_rows(alike, fewest=2, model="gmm"), alike)
    with pytest.raises(FitError, match="gmm: all 5 embeddings are equal"):
        fit_rows(np.repeat(rows[:1], 5, axis=0), fewest=2, model="gmm")
