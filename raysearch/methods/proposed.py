"""The proposed method: outlier exposure by two binary cross-entropies (equations 1-3).

Shape letters: B samples of a batch, K product IDs of the target machine type, D dimensions of the
embedding. `machine` is 1 for the target machine type and 0 for another; after Mixup it is soft.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from raysearch.config import Options
from raysearch.methods.losses import machine_loss, product_loss
from raysearch.methods.method import MACHINE, PRODUCT, Labels
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.scoring.direct import ProductProbability
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula

Logits = tuple[Tensor, Tensor | None]
"""Product logits (B, K) and machine logits (B,), None without a machine head."""

LEAST_SLOPE = 0.5
"""Least initial a. From 0.2 trainings at a high learning rate ended with a < 0, from 0.4 none."""


class MachineHead(nn.Linear):
    """The machine head: a logit a ||f||^2 + b that begins with a > 0.

    With a > 0 the target machine type is outside the hypersphere and all others are at its centre.
    A training keeps the sign that it begins with, unless a begins near 0.
    """

    def __init__(self, sign: Literal["signed", "positive"]) -> None:
        """Draw a and b.

        Args:
            sign: `signed` trains a itself, `positive` its weight w with a = |w|.
        """
        super().__init__(1, 1)
        self.is_positive = sign == "positive"
        with torch.no_grad():
            self.weight.abs_().clamp_(min=LEAST_SLOPE)

    @property
    def slope(self) -> Tensor:
        """The factor a (1, 1)."""
        return self.weight.abs() if self.is_positive else self.weight

    def forward(self, norm: Tensor) -> Tensor:
        """Return the logits (B, 1) of squared norms (B, 1)."""
        return linear(norm, self.slope, self.bias)


class OutlierExposureEncoder(BackboneEncoder):
    """An encoder with a product head and a machine head on the embedding (figure 2)."""

    def __init__(self, options: Options, products: int, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            options: of the encoder; without `machine_loss` there is no machine head.
            products: K.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        super().__init__(options, pretrained=pretrained)
        self.product_head = nn.Linear(options.embedding, products, bias=False)
        self.machine_head = MachineHead(options.machine_head) if options.machine_loss else None
        self.norm_divisor = float(options.embedding) if options.divide_norm else 1.0

    def heads(self, embeddings: Tensor) -> Logits:
        """Return product logits g(f) (B, K) and machine logits a ||f||^2 + b (B,)."""
        # In half precision ||f||^2 overflows long before an embedding does.
        with torch.autocast(device_type=embeddings.device.type, enabled=False):
            product = self.product_head(embeddings)
            if self.machine_head is None:
                return product, None
            norm = embeddings.square().sum(dim=1, keepdim=True) / self.norm_divisor
            return product, self.machine_head(norm).squeeze(1)

    def forward(self, spectrograms: Tensor) -> Logits:
        """Return the logits of spectrograms (B, 1, M, F)."""
        return self.heads(self.embed(spectrograms))


@dataclass(frozen=True)
class Proposed:
    """The proposed method and its ablations: machine loss off, Mixup off, `inlier: none`.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = True
    is_per_product: ClassVar[bool] = False
    uses_others: ClassVar[bool] = True
    uses_mixup: ClassVar[bool] = True
    direct: ClassVar[type[Formula] | None] = ProductProbability

    @property
    def over_targets(self) -> frozenset[str]:
        """The product loss, unless other machine types are in it, too."""
        return frozenset({PRODUCT} if self.options.product_mask == "target" else ())

    def network(self, products: int, *, pretrained: bool | str) -> OutlierExposureEncoder:
        """Build encoder and heads."""
        return OutlierExposureEncoder(self.options, products, pretrained=pretrained)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weights of L = L_machine + λ L_product (equation 3)."""
        if not self.options.machine_loss:
            return {PRODUCT: 1.0}
        assert lam is not None
        return {MACHINE: 1.0, PRODUCT: lam}

    def losses(self, outputs: Logits, labels: Labels) -> Mapping[str, Tensor]:
        """Return L_machine and L_product."""
        product_logits, machine_logits = outputs
        if self.options.product_mask == "target":
            mask, count = labels.machine, labels.targets
        else:
            mask, count = torch.ones_like(labels.machine), torch.tensor(labels.size)
        product = {PRODUCT: product_loss(product_logits, labels.products, mask, count)}
        if machine_logits is None:
            return product
        return {MACHINE: machine_loss(machine_logits, labels.machine, labels.size), **product}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> ProductProbability:
        """Return 1 minus the probability of the product ID."""
        assert isinstance(network, OutlierExposureEncoder), type(network)
        weight = network.product_head.weight[product]
        return ProductProbability(weight.detach().double().cpu().numpy())
