"""Divergence of a training, by its validation losses and that of the untrained network.

A loss may be negative, as that of a normalising flow, so a bound is the loss of the untrained
network plus a multiple of its magnitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.errors import TrialError
from raysearch.training.outcome import Epoch

FAILED = 10.0
"""Multiple of the loss of the untrained network above which a finished training has failed."""

HOPELESS = 1e6
"""Multiple above which a training is ended at once."""


@dataclass(frozen=True)
class Divergence:
    """The validation losses of a training against that of the untrained network.

    Attributes:
        untrained: validation loss of the untrained network; None if the checkpoint is of
            a version that did not keep it.
        least: least validation loss of the epochs so far; None before the first.
    """

    untrained: float | None
    least: float | None

    @classmethod
    def of(cls, untrained: float | None, history: Sequence[Epoch]) -> "Divergence":
        """Compare the epochs of a training with the untrained network."""
        return cls(untrained, min((epoch.val_loss for epoch in history), default=None))

    def exceeds(self, multiple: float) -> bool:
        """Return True if all epochs are above a multiple of the loss of the untrained network."""
        if self.untrained is None or self.least is None:
            return False
        return self.least > self.untrained + (multiple - 1) * abs(self.untrained)

    def refuse(self, multiple: float) -> None:
        """Refuse a training whose epochs are all above a multiple.

        Raises:
            TrialError: the training has diverged.
        """
        if self.exceeds(multiple):
            raise TrialError(
                f"the loss diverged: on the held-out clips it is {self.least:.4g} at best, and "
                f"{self.untrained:.4g} without a training"
            )

    @property
    def remark(self) -> str:
        """Warning about a training that left the network no better; empty for any other."""
        if not self.exceeds(1.0):
            return ""
        return (
            f"the training did not lower the loss on the held-out clips: it is {self.least:.4g} at "
            f"best, and {self.untrained:.4g} without a training"
        )
