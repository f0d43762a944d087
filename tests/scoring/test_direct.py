"""Scores of a network itself, by hand."""

import numpy as np

from raysearch.scoring.direct import CentreDistance, LastDimension, ProductProbability


def test_product_probability_by_hand() -> None:
    model = ProductProbability(np.array([1.0, -2.0]))
    embeddings = np.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, 50.0], [50.0, 0.0]])
    expected = [0.5, 0.25, 1.0, np.exp(-50.0)]
    np.testing.assert_allclose(model.score(embeddings), expected, rtol=1e-12)


def test_centre_distance_by_hand() -> None:
    model = CentreDistance(np.array([0.0, 2.0]))
    embeddings = np.array([[0.0, 5.0], [3.0, 0.0], [0.0, -0.1], [3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(model.score(embeddings), [0.0, 1.0, 2.0, 0.2, 1.0], atol=1e-15)


def test_last_dimension_by_hand() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(LastDimension().score(rows), [3.0, 6.0])
