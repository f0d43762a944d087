"""Scoring as plain recipes do it: a clip at a time, then loops over scikit-learn's models.

Shape letters: S segments of a clip, N segments of all clips, T samples of a segment, D dimensions
of the embedding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from bench_parts.recipe import File, Trainer
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor

Rows = NDArray[np.float32]
Tests = tuple[Sequence[Rows], Sequence[int]]
"""Embeddings (S, D) of clips, and their labels, 1 for an anomaly."""

Models = Mapping[str, Sequence[int]]
"""Inlier model, `gmm` or `lof` -> its values of p."""


def embed_clips(files: Sequence[File], trainer: Trainer, segments: int) -> list[Rows]:
    """Read each clip and embed its segments: (S, D) for each clip."""
    trainer.network.eval()
    embeddings = []
    with torch.no_grad():
        for file in files:
            pieces = cut(file.read(), trainer.setting.segment, segments)
            waves = torch.from_numpy(pieces).to(trainer.device)
            embeddings.append(trainer.network.embed(trainer.features(waves)).cpu().numpy())
    return embeddings


def cut(wave: Rows, segment: int, count: int) -> Rows:
    """Return the (S, T) overlapping segments of a clip that is longer than a segment."""
    last = len(wave) - segment
    hop = last // (count - 1)
    starts = [*(k * hop for k in range(count - 1)), last]
    return np.stack([wave[start : start + segment] for start in starts])


def score_models(
    fits: Sequence[Rows], tests: Mapping[int, Tests], models: Models
) -> dict[str, float]:
    """Fit each inlier model for each product ID, score its clips, and take the harmonic mean.

    Args:
        fits: (N, D) of each product ID.
        tests: position of a product ID -> its test clips; only some IDs have test clips.
        models: and their values of p.

    Returns:
        Model and p -> harmonic mean of AUC and pAUC over the product IDs with test clips.
    """
    results = {}
    for name, values in models.items():
        for p in values:
            measures = []
            for number, rows in enumerate(fits):
                model = _fit(name, p, rows)
                if number in tests:
                    clips, truth = tests[number]
                    scores = [_clip_score(name, -model.score_samples(x)) for x in clips]
                    measures.append(roc_auc_score(truth, scores))
                    measures.append(roc_auc_score(truth, scores, max_fpr=0.1))
            results[f"{name} {p}"] = float(len(measures) / np.sum(1 / np.maximum(measures, 1e-16)))
    return results


def _fit(name: str, p: int, rows: Rows) -> GaussianMixture | LocalOutlierFactor:
    if name == "gmm":
        return GaussianMixture(p, reg_covar=1e-6, random_state=0).fit(rows)
    return LocalOutlierFactor(n_neighbors=p, novelty=True).fit(rows)


def _clip_score(name: str, scores: NDArray[np.float64]) -> float:
    if name == "gmm":
        scores = scores[scores >= np.median(scores)]
    return float(scores.mean())
