"""Projection of embeddings to a plane, for the charts of a report.

Apart from the inlier models, since only reports need the import of t-SNE.
"""

import numpy as np
from sklearn.manifold import TSNE

from raysearch.scoring.fitting import Rows, finite_rows, one_thread
from raysearch.scoring.metrics import Floats

PERPLEXITY = 30.0
"""Effective number of neighbours of a point, scikit-learn's default; fewer for few points."""


def project(embeddings: Rows, seed: int) -> Floats:
    """Project embeddings (C, D) to a plane by t-SNE, which preserves neighbours; C >= 4.

    Args:
        embeddings: of clips.
        seed: of the descent; equal seeds give equal planes.

    Returns:
        (C, 2); all at the origin if all embeddings are equal.

    Raises:
        ValueError: embeddings that are not finite.
    """
    rows = finite_rows(embeddings)
    assert len(rows) >= 4, rows.shape
    if not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), 2))
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    # One thread, so that the plane does not depend on the order in which threads add up.
    with one_thread():
        points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return np.asarray(points, dtype=np.float64)
