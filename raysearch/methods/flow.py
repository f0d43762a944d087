"""A normalising flow of successive frames: the density of normal sounds.

Affine coupling layers (Dinh et al. 2017, "RealNVP") on standardised vectors of frames. The paper
names normalising flows among the inlier methods, without a system. One network is trained for a
machine type, by the negative log-likelihood of normal clips alone.

Shape letters: B samples, M mel bands, F frames, N vectors of a sample, V dimensions of a vector.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raysearch.config import Options
from raysearch.methods.frames import FRAMES, stack_frames
from raysearch.methods.method import Labels
from raysearch.model.encoder import Encoder
from raysearch.scoring.direct import LastDimension
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula

LIKELIHOOD = "likelihood"
COUPLINGS, WIDTH = 4, 128


class Coupling(nn.Module):
    """An affine coupling layer: one half of the dimensions scales and shifts the other half."""

    def __init__(self, size: int, *, flipped: bool) -> None:
        """Build the layer.

        Args:
            size: V, even or odd.
            flipped: the second half scales and shifts the first.
        """
        super().__init__()
        self.flipped = flipped
        first = size // 2
        given, changed = (size - first, first) if flipped else (first, size - first)
        last = nn.Linear(WIDTH, 2 * changed)
        # The flow begins as the identity.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(given, WIDTH), nn.ReLU(), last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (N, V) of x (N, V), and the logarithm of the determinant (N,)."""
        first, second = x.tensor_split([x.shape[1] // 2], dim=1)
        given, changed = (second, first) if self.flipped else (first, second)
        log_scale, shift = self.network(given).chunk(2, dim=1)
        log_scale = torch.tanh(log_scale)  # Bounded, so that no likelihood overflows.
        changed = changed * log_scale.exp() + shift
        parts = (changed, given) if self.flipped else (given, changed)
        return torch.cat(parts, dim=1), log_scale.sum(dim=1)


class FrameFlow(Encoder):
    """A normalising flow of vectors of frames."""

    def __init__(self, options: Options) -> None:
        """Build the network for the mel bands of the options."""
        super().__init__()
        size = options.n_mels * FRAMES
        self.standardise = nn.BatchNorm1d(size, affine=False)
        self.couplings = nn.ModuleList(
            Coupling(size, flipped=bool(number % 2)) for number in range(COUPLINGS)
        )

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return negative log-likelihoods (B, N), a dimension, of spectrograms (B, 1, M, F)."""
        vectors = stack_frames(spectrograms)
        with torch.autocast(device_type=vectors.device.type, enabled=False):
            z = self.standardise(vectors.flatten(0, 1))
            log_determinant = z.new_zeros(len(z))
            for coupling in self.couplings:
                z, added = coupling(z)
                log_determinant = log_determinant + added
            size = z.shape[1]
            log_density = -0.5 * (z.square().sum(dim=1) + size * math.log(2 * math.pi))
            values: Tensor = -(log_density + log_determinant) / size
        return values.view(vectors.shape[:2])

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return the greatest and, last, the mean negative log-likelihood of a segment: (B, 2)."""
        values = self(spectrograms)
        return torch.stack([values.amax(dim=1), values.mean(dim=1)], dim=1)


@dataclass(frozen=True)
class Flow:
    """The normalising flow.

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

    def network(self, products: int, *, pretrained: bool | str) -> FrameFlow:
        """Build the network."""
        return FrameFlow(self.options)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weight of the likelihood, which is the whole loss."""
        return {LIKELIHOOD: 1.0}

    def losses(self, outputs: Tensor, labels: Labels) -> Mapping[str, Tensor]:
        """Return the mean negative log-likelihood."""
        return {LIKELIHOOD: outputs.mean(dim=1).sum() / labels.size}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> LastDimension:
        """Return the negative log-likelihood, which is the last dimension of an embedding."""
        return LastDimension()
