"""The reference: what the recordings give without a training."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.data.store import Store
from raysearch.scoring.metrics import machine_score
from raysearch.training.embedding import Embedder
from raysearch.training.network import new_encoder
from raysearch.training.reference import INLIER, reference_config, score_reference
from tests.tiny import VALIDATION_IDS, open_valve, tiny_config


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


def test_the_reference_does_not_depend_on_what_is_searched(data: TrialData) -> None:
    first = score_reference(tiny_config(data), data)
    other = score_reference(
        tiny_config(
            data, lr=1.0, batch_size=16, lam=0.1, method="flow", epochs=9, compression="none"
        ),
        data,
    )
    assert first == other
    assert (first.inlier, first.p, first.error) == ("mahalanobis", INLIER.p, "")
    assert tuple(first.auc) == VALIDATION_IDS


def clips_of(store: Store, target: Store, identity: str) -> Part:
    """Return the clips of an ID, normalised as the target's training clips."""
    clips = np.array([i for i, clip in enumerate(store.clips) if clip.id == identity])
    return Part(store, clips, target.mean, target.std)


def test_the_reference_is_the_distance_of_spectrogram_statistics(data: TrialData) -> None:
    config = reference_config(tiny_config(data))
    encoder = new_encoder(config.options, len(data.ids), pretrained=False)
    embedder = Embedder(encoder, config.options, data.ids)
    target, validation = data.target, data.validation
    labels, scores = {}, {}
    for identity in VALIDATION_IDS:
        parts = [clips_of(store, target, identity) for store in (target, validation)]
        normal, tested = (embedder.clips(part, part.clips.tolist()) for part in parts)
        rows = normal.rows.astype(np.float64)
        covariance = np.cov(rows, rowvar=False, bias=True)
        sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        inverse = np.linalg.inv(0.9 * covariance + 0.1 * sphere)
        distances = [mahalanobis(row, rows.mean(axis=0), inverse) for row in tested.rows]
        scores[identity] = np.array(distances).reshape(len(tested), -1).mean(axis=1)
        labels[identity] = np.array([validation.clips[i].label for i in parts[1].clips])
    expected = machine_score(labels, scores)
    assert score_reference(tiny_config(data), data).val_score == pytest.approx(expected.hmean)
