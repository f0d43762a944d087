"""A method without a training: what baseline and frozen have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from raysearch.config import Options
from raysearch.methods.method import Labels
from raysearch.model.encoder import Encoder
from raysearch.scoring.fitting import Rows
from raysearch.scoring.inlier import Formula


@dataclass(frozen=True)
class Untrained:
    """A method that scores what a fixed network returns, by an inlier model.

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

    def weights(self, lam: float | None) -> Mapping[str, float]:
        """Return no weight: there is no loss."""
        return {}

    def losses(self, outputs: Any, labels: Labels) -> Mapping[str, Tensor]:
        """Return no loss."""
        return {}

    def direct_score(self, network: Encoder, product: int, normal: Rows) -> None:
        """Return None: without an inlier model there is no score."""
