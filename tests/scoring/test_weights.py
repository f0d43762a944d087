"""Weights of an ensemble, chosen on labelled clips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.scoring.metrics import machine_score
from raysearch.scoring.weights import choose_weights

CLIPS = 30


def clips(seed: int, *strengths: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels and scores of two IDs, by detectors that see anomalies more or less."""
    rng = np.random.default_rng(seed)
    labels = {identity: np.arange(CLIPS) % 2 for identity in "01"}
    noise = {identity: rng.normal(size=(CLIPS, len(strengths))) for identity in labels}
    scores = {i: noise[i] + labels[i][:, None] * np.array(strengths) for i in labels}
    return labels, scores


def score(
    weights: np.ndarray, labels: dict[str, np.ndarray], scores: dict[str, np.ndarray]
) -> float:
    return machine_score(labels, {i: values @ weights for i, values in scores.items()}).hmean


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_weights_are_shares_and_no_single_detector_is_better(seed: int, count: int) -> None:
    labels, scores = clips(seed, *(0.5 * k for k in range(count)))
    weights = choose_weights(labels, scores)
    assert weights.shape == (count,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    best = score(weights, labels, scores)
    singles = [score(single, labels, scores) for single in np.eye(count)]
    assert best >= max(singles) - 1e-12


@pytest.mark.parametrize("position", range(3))
def test_a_perfect_detector_gets_all_weight(position: int) -> None:
    labels, scores = clips(0, 0.0, 0.0, 0.0)
    for identity, values in scores.items():
        values[:, position] = labels[identity]
    assert choose_weights(labels, scores).tolist() == np.eye(3)[position].tolist()


def test_a_detector_that_is_of_no_use_gets_none() -> None:
    labels, scores = clips(1, 2.0, 2.0, -3.0)
    weights = choose_weights(labels, scores)
    assert weights[2] == 0
    assert (weights[:2] > 0).all()
    assert score(weights, labels, scores) > score(np.eye(3)[0], labels, scores)
