"""An autoencoder of successive frames: the official baseline of DCASE 2021 Task 2.

Its layers are 640-128-128-128-128-8-128-128-128-128-640 for 5 frames of 128 mel bands, each but
the last with batch norm and ReLU. One network is trained for a machine type, by the mean squared
error of normal clips alone. `n_mels: 128` and `compression: db` are those of the official baseline.

Shape letters: B samples, M mel bands, F frames, N vectors of a sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from raysearch.config import Options
from raysearch.methods.frames import FRAMES, stack_frames
from raysearch.methods.losses import at_least_float32
from raysearch.methods.method import Labels
from raysearch.model.encoder import Encoder
from raysearch.scoring.direct import LastDimension
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula

RECONSTRUCTION = "reconstruction"
WIDTH, BOTTLENECK = 128, 8


class FrameAutoencoder(Encoder):
    """An autoencoder of vectors of frames."""

    def __init__(self, options: Options) -> None:
        """Build the network for the mel bands of the options."""
        super().__init__()
        size = options.n_mels * FRAMES
        self.encoder = nn.Sequential(*_layers([size, *[WIDTH] * 4, BOTTLENECK]))
        self.decoder = nn.Sequential(*_layers([BOTTLENECK, *[WIDTH] * 4]), nn.Linear(WIDTH, size))

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return the mean squared errors (B,) of spectrograms (B, 1, M, F)."""
        return self._reconstruct(spectrograms)[1]

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return the mean code of the vectors and, last, the error: (B, `BOTTLENECK` + 1)."""
        codes, errors = self._reconstruct(spectrograms)
        return torch.cat([at_least_float32(codes.mean(dim=1)), errors[:, None]], dim=1)

    def _reconstruct(self, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (B, N, `BOTTLENECK`) and mean squared errors (B,)."""
        vectors = stack_frames(spectrograms)
        flat = vectors.flatten(0, 1)
        codes: Tensor = self.encoder(flat)
        errors = (at_least_float32(self.decoder(codes)) - flat).square().mean(dim=1)
        shape = vectors.shape[:2]
        return codes.view(*shape, BOTTLENECK), errors.view(shape).mean(dim=1)


def _layers(sizes: list[int]) -> list[nn.Module]:
    return [
        layer
        for before, after in pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU())
    ]


@dataclass(frozen=True)
class Autoencoder:
    """The official baseline.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = True
    is_per_product: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    uses_mixup: ClassVar[bool] = False
    direct: ClassVar[type[Formula] | None] = LastDimension

    @property
    def over_targets(self) -> frozenset[str]:
        """No part of the loss: all samples are of the target machine type."""
        return frozenset()

    def network(self, products: int, *, pretrained: bool | str) -> FrameAutoencoder:
        """Build the network."""
        return FrameAutoencoder(self.options)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weight of the error, which is the whole loss."""
        return {RECONSTRUCTION: 1.0}

    def losses(self, outputs: Tensor, labels: Labels) -> Mapping[str, Tensor]:
        """Return the mean squared error."""
        return {RECONSTRUCTION: outputs.sum() / labels.size}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> LastDimension:
        """Return the error, which is the last dimension of an embedding."""
        return LastDimension()
