"""The protocol of a method: its clips, network, losses and direct score.

Shape letters: B samples of a batch, K product IDs of the target machine type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula

MACHINE, PRODUCT = "machine", "product"
"""Names of the parts of a loss."""


@dataclass(frozen=True)
class Labels:
    """Labels of a worker's samples, and the counts of the whole batch.

    Attributes:
        products: (B, K) product IDs: one-hot, soft after Mixup, zero for other machine types.
        machine: (B,) share of the target machine type, in [0, 1].
        size: number of samples of the whole batch.
        targets: scalar, number of samples of the whole batch with machine > 0.
    """

    products: Tensor
    machine: Tensor
    size: int
    targets: Tensor


class Method(Protocol):
    """A system of the paper, with the options of a trial.

    Attributes:
        is_trained: False for a method that scores what a fixed network returns; it has no losses.
        is_per_product: a network is trained for each product ID, against all other sounds.
        uses_others: half of a batch is of other machine types.
        uses_mixup: the samples of a batch may be mixed.
        direct: class of the score without an inlier model; None if there is none.
    """

    is_trained: ClassVar[bool]
    is_per_product: ClassVar[bool]
    uses_others: ClassVar[bool]
    uses_mixup: ClassVar[bool]
    direct: ClassVar[type[Formula] | None]

    @property
    def over_targets(self) -> frozenset[str]:
        """Parts of the loss that are means over the target machine type, not over all samples."""

    def network(self, products: int, *, pretrained: bool | str) -> Encoder:
        """Build the network before training.

        Args:
            products: K.
            pretrained: True for timm's weights, False for random ones, a path for a file.
        """

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return the weight of each part of the loss.

        Args:
            lam: λ; None for a method without it.
        """

    def losses(self, outputs: Any, labels: Labels) -> Mapping[str, Tensor]:
        """Return each part of the loss, a scalar.

        A mean is divided by its count in the whole batch, so that the losses of workers add up.

        Args:
            outputs: of the network for a worker's samples.
            labels: of these samples.
        """

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> Formula | None:
        """Return the score of embeddings without an inlier model; None if there is none.

        Args:
            network: trained.
            product: position of the product ID among the target's.
            normal: embeddings (N, D) of normal segments of this ID.
        """
