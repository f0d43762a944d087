"""The outcome of a trial as plain data: its epochs and the results of its inlier models."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from raysearch.scoring.spec import InlierSpec


@dataclass(frozen=True)
class Epoch:
    """Losses of one epoch, means over its samples.

    Attributes:
        epoch: from 1.
        train_machine_loss: L_machine; None if it is no part of the method's loss.
        train_product_loss: L_product; None likewise.
        val_machine_loss: of the held-out clips; None likewise.
        val_product_loss: of the held-out clips; None likewise.
        seconds: of training and validation.
        val_score: at a rung, the best validation score over all inlier settings of the encoder of
            the least validation loss so far.
    """

    epoch: int
    train_loss: float
    train_machine_loss: float | None
    train_product_loss: float | None
    val_loss: float
    val_machine_loss: float | None
    val_product_loss: float | None
    lr: float
    seconds: float
    val_score: float | None = None


@dataclass(frozen=True)
class InlierResult:
    """Result of one inlier model and p on the embeddings of a trial.

    Attributes:
        val_score: harmonic mean of AUC and pAUC over validation IDs; None if it failed, or without
            validation IDs.
        auc: by validation ID.
        pauc: by validation ID.
        error: reason of the failure, else empty.
        remark: warning about the fit for the readers, else empty.
    """

    inlier: str
    p: float | None
    val_score: float | None = None
    auc: dict[str, float] = field(default_factory=dict)
    pauc: dict[str, float] = field(default_factory=dict)
    error: str = ""
    remark: str = ""

    @property
    def spec(self) -> InlierSpec:
        """Inlier model and p of the row."""
        return InlierSpec(self.inlier, self.p)


@dataclass(frozen=True)
class TrialResult:
    """Result of a finished trial; one row per inlier model and p.

    Attributes:
        best_epoch: of the encoder; None for a method without a training.
        val_loss: of the encoder; None likewise.
    """

    rows: tuple[InlierResult, ...]
    history: tuple[Epoch, ...]
    resumes: tuple[int, ...]
    best_epoch: int | None
    val_loss: float | None
    train_seconds: float
    score_seconds: float

    @property
    def best(self) -> InlierResult | None:
        """Row of the highest validation score, see `best_row`."""
        return best_row(self.rows)


def best_row(rows: Iterable[InlierResult]) -> InlierResult | None:
    """Return the row of the highest validation score, the first of equals.

    Without validation IDs no row has a score, and the first that did not fail is returned.

    Returns:
        None if all failed.
    """
    fitted = [row for row in rows if not row.error]
    return max(fitted, key=lambda row: row.val_score or 0.0, default=None)
