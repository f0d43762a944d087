"""Embeddings on a plane, for people to look at."""

import numpy as np
from sklearn.manifold import TSNE

from raysearch.scoring.fitting import Rows, finite, one_thread
from raysearch.scoring.metrics import Floats

PERPLEXITY = 30.0
"""Neighbours that a point has in mind, scikit-learn's default; of few points, a third of them."""


def project(embeddings: Rows, seed: int) -> Floats:
    """Places embeddings (C, D) on a plane by t-SNE: neighbours stay neighbours, C >= 4.

    Args:
        embeddings: of clips.
        seed: of the descent; the same gives the same plane.

    Returns:
        (C, 2); all at the origin if the encoder has collapsed, so that no two differ.

    Raises:
        ValueError: they are not finite.
    """
    rows = finite(embeddings)
    assert len(rows) >= 4, rows.shape
    if not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), 2))
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    # One thread: so that the plane does not depend on the order in which threads add up.
    with one_thread():
        placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return np.asarray(placed, dtype=np.float64)
