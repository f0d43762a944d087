"""The serial method with an additive angular margin between product IDs.

The second reading of Morita et al. (2021) in Table II: a later report of that team classifies
product IDs by an additive angular margin (Deng et al. 2019, "ArcFace"). The original is not
verified. The clips of the target machine type alone are used, without Mixup.

Shape letters: B samples of a batch, K product IDs of the target machine type, D dimensions of the
embedding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from raysearch.config import Options
from raysearch.methods.method import PRODUCT, Labels
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.scoring.direct import CentreDistance
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula


class CentreEncoder(BackboneEncoder):
    """An encoder with a trained direction of the embedding for each product ID."""

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
        self.centres = nn.Parameter(torch.empty(products, options.embedding))
        nn.init.xavier_uniform_(self.centres)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return cosines (B, K) between embeddings and centres, of spectrograms (B, 1, M, F)."""
        embeddings = self.embed(spectrograms)
        # Half precision rounds the angles of close embeddings to the same value.
        with torch.autocast(device_type=embeddings.device.type, enabled=False):
            return linear(normalize(embeddings), normalize(self.centres))


def angular_margin_loss(
    cosines: Tensor, products: Tensor, *, margin: float, scale: float, size: int
) -> Tensor:
    """Return the cross-entropy of cosines with an additive angular margin.

    -1/N sum_i log softmax_k(s cos(theta_ik + m [k = y_i]))_{y_i}. Where theta + m exceeds pi, the
    cosine is lowered by m sin(m) instead, so that the loss still falls with theta.

    Args:
        cosines: (B, K), cos theta.
        products: (B, K) one-hot product IDs y.
        margin: m, radians.
        scale: s.
        size: N, number of samples of the whole batch.

    Returns:
        A scalar.
    """
    # The derivative of the arc cosine is infinite at 1 and -1.
    sine = (1 - cosines.square()).clamp(min=1e-12).sqrt()
    shifted = cosines * math.cos(margin) - sine * math.sin(margin)
    beyond = cosines < math.cos(math.pi - margin)
    shifted = torch.where(beyond, cosines - margin * math.sin(margin), shifted)
    logits = scale * torch.where(products > 0, shifted, cosines)
    return cross_entropy(logits, products.to(logits.dtype), reduction="sum") / size


@dataclass(frozen=True)
class SerialAam:
    """The serial method with an additive angular margin.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = True
    is_per_product: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    uses_mixup: ClassVar[bool] = False
    direct: ClassVar[type[Formula] | None] = CentreDistance

    @property
    def over_targets(self) -> frozenset[str]:
        """The product loss; all samples are of the target machine type."""
        return frozenset({PRODUCT})

    def network(self, products: int, *, pretrained: bool | str) -> CentreEncoder:
        """Build encoder and centres."""
        return CentreEncoder(self.options, products, pretrained=pretrained)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weight of the product loss, which is the whole loss."""
        return {PRODUCT: 1.0}

    def losses(self, outputs: Tensor, labels: Labels) -> Mapping[str, Tensor]:
        """Return the cross-entropy with the margin of the options."""
        margin, scale = self.options.aam_margin, self.options.aam_scale
        loss = angular_margin_loss(
            outputs, labels.products, margin=margin, scale=scale, size=labels.size
        )
        return {PRODUCT: loss}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> CentreDistance:
        """Return the distance between an embedding's direction and that of the product ID."""
        assert isinstance(network, CentreEncoder), type(network)
        return CentreDistance(network.centres[product].detach().double().cpu().numpy())
