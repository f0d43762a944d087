"""Statistics of the spectrogram against numpy."""

import numpy as np
import torch

from raysearch.methods.baseline import Baseline
from tests.tiny import TINY


def test_embeddings_are_means_and_deviations_of_the_bands() -> None:
    network = Baseline(TINY.replace({"method": "baseline"})).network(6, pretrained=False)
    spectrograms = torch.randn(5, 1, 32, 40, dtype=torch.float64)
    bands = spectrograms.numpy()[:, 0]
    expected = np.concatenate([bands.mean(axis=2), bands.std(axis=2)], axis=1)
    np.testing.assert_allclose(network.embed(spectrograms).numpy(), expected, atol=1e-12)
    assert list(network.parameters()) == []
