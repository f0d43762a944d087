"""Statistics of the spectrogram, then an inlier model: the floor that a trained method must beat.

Shape letters: B samples, M mel bands, F frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from raysearch.config import Options
from raysearch.methods.losses import at_least_float32
from raysearch.methods.method import Labels
from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula


class SpectrogramStatistics(Encoder):
    """Mean and standard deviation of each mel band over the frames of a segment."""

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return means, then standard deviations (B, 2 M), of spectrograms (B, 1, M, F)."""
        bands = at_least_float32(spectrograms.squeeze(1))
        return torch.cat([bands.mean(dim=2), bands.std(dim=2, correction=0)], dim=1)


@dataclass(frozen=True)
class Baseline:
    """Statistics of the spectrogram.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = False
    is_per_product: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    uses_mixup: ClassVar[bool] = False
    direct: ClassVar[type[Formula] | None] = None

    @property
    def over_targets(self) -> frozenset[str]:
        """No part of a loss, as there is none."""
        return frozenset()

    def network(self, products: int, *, pretrained: bool | str) -> SpectrogramStatistics:
        """Build the network."""
        return SpectrogramStatistics()

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return no weight: there is no loss."""
        return {}

    def losses(self, outputs: Any, labels: Labels) -> Mapping[str, Tensor]:
        """Return no loss."""
        return {}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> None:
        """Return None: without an inlier model there is no score."""
