"""A pretrained backbone without any training, then an inlier model on its features.

Shape letters: B samples, M mel bands, F frames, H pooled features of the backbone.
"""

from torch import Tensor

from raysearch.config import Options
from raysearch.methods.untrained import Untrained
from raysearch.model.encoder import Encoder


class Backbone(Encoder):
    """A backbone without a neck."""

    def __init__(self, options: Options, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            options: of the encoder.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        # Imported here: timm imports torchvision, which takes seconds.
        from raysearch.model.backbone import new_backbone

        super().__init__()
        self.backbone = new_backbone(options.backbone, pretrained, options.spectrogram)

    def embed(self, spectrograms: Tensor) -> Tensor:
        """Return pooled features (B, H) of spectrograms (B, 1, M, F)."""
        features: Tensor = self.backbone(spectrograms)
        return features.float()


class Frozen(Untrained):
    """A pretrained backbone."""

    def network(self, products: int, *, pretrained: bool | str) -> Backbone:
        """Build the network."""
        return Backbone(self.options, pretrained=pretrained)
