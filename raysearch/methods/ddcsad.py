"""DDCSAD: one network for each product ID, by classification and distances to two centroids.

It stands in for the system of that name in Table II. Its abstract and the paper say that a network
tells its product ID from all other sounds by binary cross-entropy and by metric learning, which
draws samples to the centroid of their class and away from that of the other, and that the score
is a weighted average of the probability and of the distance to the centroid of the ID. The formula
of the metric loss, its weight, the start of the centroids and the weight of the score are not
verified. Here, as in Deep SAD (Ruff et al. 2020), centroids are means of initial embeddings,
without values near zero.

Shape letters: B samples of a batch, K product IDs of the target machine type, D dimensions of the
embedding, N segments.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from raysearch.config import Options
from raysearch.methods.losses import at_least_float32
from raysearch.methods.method import Labels
from raysearch.model.encoder import BackboneEncoder, Encoder, TrainingInput
from raysearch.scoring.direct import CentroidDistance
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula

CLASSIFICATION, METRIC = "classification", "metric"
"""Names of the parts of the loss."""

EPSILON = 1e-6
"""Added to a distance that is inverted, as in Deep SAD."""

LEAST = 0.1
"""Least magnitude of a value of a centroid, as in Deep SAD: a zero could be met by zero weights."""

Outputs = tuple[Tensor, Tensor, Tensor]
"""Logits (B,), and squared distances (B,) to both centroids, means over D."""


class CentroidEncoder(BackboneEncoder):
    """An encoder with a class head and a centroid of each class, of one product ID."""

    centroid: Tensor
    other_centroid: Tensor

    def __init__(self, options: Options, *, pretrained: bool | str) -> None:
        """Build the network.

        Args:
            options: of the encoder.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        super().__init__(options, pretrained=pretrained)
        self.class_head = nn.Linear(options.embedding, 1)
        self.register_buffer("centroid", torch.zeros(options.embedding))
        self.register_buffer("other_centroid", torch.zeros(options.embedding))

    def forward(self, spectrograms: Tensor) -> Outputs:
        """Return the outputs for spectrograms (B, 1, M, F)."""
        embeddings = self.embed(spectrograms)
        with torch.autocast(device_type=embeddings.device.type, enabled=False):
            logits = self.class_head(embeddings).squeeze(1)
            to_positive, to_negative = (
                (embeddings - centroid).square().mean(dim=1)
                for centroid in (self.centroid, self.other_centroid)
            )
        return logits, to_positive, to_negative


class ProductEncoders(Encoder):
    """An encoder for each product ID."""

    is_per_product: ClassVar[bool] = True

    def __init__(self, options: Options, products: int, *, pretrained: bool | str) -> None:
        """Build the networks.

        Args:
            options: of the encoders.
            products: K.
            pretrained: as `BackboneEncoder`.

        Raises:
            UserError: as `BackboneEncoder`.
        """
        super().__init__()
        self.networks = nn.ModuleList(
            CentroidEncoder(options, pretrained=pretrained) for _ in range(products)
        )

    def of_product(self, product: int) -> CentroidEncoder:
        """Return the encoder of a product ID."""
        network = self.networks[product]
        assert isinstance(network, CentroidEncoder)
        return network

    def forward(self, spectrograms: Tensor, networks: Tensor) -> Outputs:
        """Return the outputs for spectrograms (B, 1, M, F), each by its network (B,)."""
        rows = [torch.nonzero(networks == k).squeeze(1) for k in range(len(self.networks))]
        used = [k for k, samples in enumerate(rows) if len(samples)]
        outputs = [self.of_product(k)(spectrograms[rows[k]]) for k in used]
        order = torch.argsort(torch.cat([rows[k] for k in used]))
        logits, to_positive, to_negative = (
            torch.cat(parts)[order] for parts in zip(*outputs, strict=True)
        )
        return logits, to_positive, to_negative

    def prepare(self, batches: Iterable[TrainingInput]) -> None:
        """Set the centroids to the mean initial embeddings of their classes."""
        sums: dict[tuple[int, bool], list[Tensor]] = {}
        for batch in batches:
            assert batch.networks is not None
            for k in range(len(self.networks)):
                for is_positive in (True, False):
                    mask = (batch.networks == k) & ((batch.products >= 0) == is_positive)
                    if samples := torch.nonzero(mask).squeeze(1).tolist():
                        embeddings = self.of_product(k).embed(batch.spectrograms[samples])
                        sums.setdefault((k, is_positive), []).append(embeddings)
        for (k, is_positive), parts in sums.items():
            network = self.of_product(k)
            centroid = network.centroid if is_positive else network.other_centroid
            centroid.copy_(keep_from_zero(torch.cat(parts).mean(dim=0)))


def keep_from_zero(centroid: Tensor) -> Tensor:
    """Return a centroid (D,) whose values have at least the magnitude `LEAST`."""
    sign = torch.where(centroid < 0, -1.0, 1.0).to(centroid)
    return torch.where(centroid.abs() < LEAST, LEAST * sign, centroid)


def metric_loss(
    to_positive: Tensor, to_negative: Tensor, is_positive: Tensor, *, size: int, deep_sad: bool
) -> Tensor:
    """Return the loss of distances to the centroids.

    1/N sum_i d(f_i, c_i) + 1 / (d(f_i, c'_i) + epsilon), where c_i is the centroid of the class of
    sample i and c'_i that of the other class. Deep SAD has the centroid of the product ID alone:
    1/N sum_i d(f_i, c) for samples of the ID, 1 / (d(f_i, c) + epsilon) for all others.

    Args:
        to_positive: (B,) squared distances to the centroid of the product ID.
        to_negative: (B,) squared distances to the centroid of all other sounds.
        is_positive: (B,) 1 for samples of the product ID, else 0.
        size: N, number of samples of the whole batch.
        deep_sad: leave the centroid of all other sounds out.

    Returns:
        A scalar.
    """
    inverse = 1 / (to_positive + EPSILON)
    if deep_sad:
        return torch.where(is_positive > 0, to_positive, inverse).sum() / size
    positive, negative = to_positive + 1 / (to_negative + EPSILON), to_negative + inverse
    return torch.where(is_positive > 0, positive, negative).sum() / size


@dataclass(frozen=True)
class Ddcsad:
    """A network for each product ID, trained side by side.

    The loss is the sum over all networks, which share no parameter: each is trained as if alone.

    Attributes:
        options: of the trial.
    """

    options: Options

    is_trained: ClassVar[bool] = True
    is_per_product: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    uses_mixup: ClassVar[bool] = False
    direct: ClassVar[type[Formula] | None] = CentroidDistance

    @property
    def over_targets(self) -> frozenset[str]:
        """No part of the loss: both classes count."""
        return frozenset()

    def network(self, products: int, *, pretrained: bool | str) -> ProductEncoders:
        """Build a network for each product ID."""
        return ProductEncoders(self.options, products, pretrained=pretrained)

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weights of both losses."""
        return {CLASSIFICATION: 1.0, METRIC: self.options.ddcsad_metric_weight}

    def losses(self, outputs: Outputs, labels: Labels) -> Mapping[str, Tensor]:
        """Return the binary cross-entropy and the metric loss."""
        logits, to_positive, to_negative = (at_least_float32(values) for values in outputs)
        is_positive, size = labels.machine.to(logits.dtype), labels.size
        deep_sad = self.options.ddcsad_metric == "deep_sad"
        entropy = binary_cross_entropy_with_logits(logits, is_positive, reduction="sum")
        metric = metric_loss(to_positive, to_negative, is_positive, size=size, deep_sad=deep_sad)
        return {CLASSIFICATION: entropy / size, METRIC: metric}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> CentroidDistance:
        """Return the weighted average of probability and scaled distance."""
        encoder = network.of_product(product)
        assert isinstance(encoder, CentroidEncoder), type(encoder)
        weight, bias, centroid = (
            values.detach().double().cpu().numpy()
            for values in (encoder.class_head.weight[0], encoder.class_head.bias, encoder.centroid)
        )
        share = self.options.ddcsad_score_weight
        return CentroidDistance.fit(weight, bias, centroid, share=share, normal=normal)
