"""A pretrained backbone without any training, then an inlier model on its features.

Shape letters: B samples, M mel bands, F frames, H pooled features of the backbone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from raysearch.config import Options
from raysearch.methods.method import Labels
from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula


class Backbone(Encoder):
    """A backbone without a neck."""

    def __init__(self, name: str, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            name: of a timm model.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        # Imported here: timm imports torchvision, which takes seconds.
        from raysearch.model.backbone import new_backbone

        super().__init__()
        self.backbone = new_backbone(name, pretrained)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return pooled features (B, H) of spectrograms (B, 1, M, F)."""
        features: Tensor = self.backbone(spectrograms)
        return features.float()


@dataclass(frozen=True)
class Frozen:
    """A pretrained backbone.

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

    def network(self, products: int, *, pretrained: bool | str) -> Backbone:
        """Build the network."""
        return Backbone(self.options.backbone, pretrained=pretrained)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return no weight: there is no loss."""
        return {}

    def losses(self, outputs: Any, labels: Labels) -> Mapping[str, Tensor]:
        """Return no loss."""
        return {}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> None:
        """Return None: without an inlier model there is no score."""
