"""Statistics of the spectrogram, then an inlier model: the floor that a trained method must beat.

Shape letters: B samples, M mel bands, F frames.
"""

import torch
from torch import Tensor

from raysearch.methods.losses import at_least_float32
from raysearch.methods.untrained import Untrained
from raysearch.model.encoder import Encoder


class SpectrogramStatistics(Encoder):
    """Mean and standard deviation of each mel band over the frames of a segment."""

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return means, then standard deviations (B, 2 M), of spectrograms (B, 1, M, F)."""
        bands = at_least_float32(spectrograms.squeeze(1))
        return torch.cat([bands.mean(dim=2), bands.std(dim=2, correction=0)], dim=1)


class Baseline(Untrained):
    """Statistics of the spectrogram."""

    def network(self, products: int, *, pretrained: bool | str) -> SpectrogramStatistics:
        """Build the network."""
        return SpectrogramStatistics()
