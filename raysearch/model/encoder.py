"""Encoders: networks from spectrograms to embeddings.

Shape letters: B samples, M mel bands, F frames, D dimensions of the embedding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from raysearch.config import Options


@dataclass(frozen=True)
class TrainingInput:
    """Training input before the first epoch.

    Attributes:
        spectrograms: (B, 1, M, F).
        products: (B,) position of the product ID among the target's, -1 for others.
        networks: (B,) number of the network that a sample is for; None if there is one network.
    """

    spectrograms: Tensor
    products: Tensor
    networks: Tensor | None


class Encoder(nn.Module):
    """A network from log-mel spectrograms to embeddings, or a network for each product ID.

    Attributes:
        is_per_product: True if `of_product` returns another network for each product ID.
    """

    is_per_product: ClassVar[bool] = False

    def of_product(self, product: int) -> "Encoder":
        """Return the network of a product ID, given by its position among the target's."""
        return self

    def prepare(self, batches: Iterable[TrainingInput]) -> None:
        """Set what depends on training input before the first epoch; by default nothing."""

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return embeddings f (B, D), float32, of spectrograms (B, 1, M, F)."""
        raise NotImplementedError


class BackboneEncoder(Encoder):
    """A backbone with a neck; a method adds its heads.

    The neck is that of the first author's recipes: Dropout, Linear, BatchNorm, PReLU, Linear. The
    paper has two non-linear transformations: BatchNorm and PReLU follow the second Linear as well.
    """

    def __init__(self, options: Options, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            options: of the encoder.
            pretrained: True for timm's weights, False for random ones, a path for a file.

        Raises:
            UserError: timm has no such backbone, or its weights cannot be loaded.
        """
        # Imported here: timm imports torchvision, which takes seconds.
        from raysearch.model.backbone import features, new_backbone

        super().__init__()
        self.backbone = new_backbone(options.backbone, pretrained, options.spectrogram)
        self.neck = nn.Sequential(
            nn.Dropout(options.dropout),
            nn.Linear(features(self.backbone), options.embedding),
            *_non_linearity(options.embedding),
            nn.Linear(options.embedding, options.embedding),
            *(() if options.neck == "recipe" else _non_linearity(options.embedding)),
        )
        self.to(memory_format=torch.channels_last)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return embeddings f (B, D) of spectrograms (B, 1, M, F)."""
        features = self.backbone(spectrograms.contiguous(memory_format=torch.channels_last))
        embeddings: Tensor = self.neck(features)
        return embeddings.float()


def _non_linearity(size: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm1d(size), nn.PReLU()
