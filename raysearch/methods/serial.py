"""The serial method: a classifier of product IDs, then an inlier model on its embedding.

It stands in for the system of Morita et al. (2021) in Table II, as the first author of the paper
trained it: by the clips of the target machine type alone and without Mixup. The original is not
verified; see serial_aam.py for the other reading of it.

Shape letters: B samples of a batch, K product IDs of the target machine type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from raysearch.config import Options
from raysearch.methods.losses import product_loss
from raysearch.methods.method import PRODUCT, Labels
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.scoring.direct import ProductProbability
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula


class ProductEncoder(BackboneEncoder):
    """An encoder with a product head on the embedding."""

    def __init__(self, options: Options, products: int, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            options: of the encoder.
            products: K.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        super().__init__(options, pretrained=pretrained)
        self.product_head = nn.Linear(options.embedding, products, bias=False)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return product logits (B, K) of spectrograms (B, 1, M, F)."""
        logits: Tensor = self.product_head(self.embed(spectrograms))
        return logits


@dataclass(frozen=True)
class Serial:
    """The serial method.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = True
    is_per_product: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    uses_mixup: ClassVar[bool] = False
    direct: ClassVar[type[Formula] | None] = ProductProbability

    @property
    def over_targets(self) -> frozenset[str]:
        """The product loss; all samples are of the target machine type."""
        return frozenset({PRODUCT})

    def network(self, products: int, *, pretrained: bool | str) -> ProductEncoder:
        """Build encoder and head."""
        return ProductEncoder(self.options, products, pretrained=pretrained)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weight of the product loss, which is the whole loss."""
        return {PRODUCT: 1.0}

    def losses(self, outputs: Tensor, labels: Labels) -> Mapping[str, Tensor]:
        """Return the binary cross-entropy over product IDs."""
        return {PRODUCT: product_loss(outputs, labels.products, labels.machine, labels.targets)}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> ProductProbability:
        """Return 1 minus the probability of the product ID."""
        assert isinstance(network, ProductEncoder), type(network)
        weight = network.product_head.weight[product]
        return ProductProbability(weight.detach().double().cpu().numpy())
