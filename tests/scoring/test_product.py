import numpy as np

from raysearch.scoring.product import ProductProbability


def test_product_probability_by_hand() -> None:
    model = ProductProbability(np.array([1.0, -2.0]))
    embeddings = np.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, 50.0], [50.0, 0.0]])
    expected = [0.5, 0.25, 1.0, np.exp(-50.0)]
    np.testing.assert_allclose(model.score(embeddings), expected, rtol=1e-12)
