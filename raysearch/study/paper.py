"""Figures of the paper, Kuroyanagi et al. 2022: its best configurations and final test scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from raysearch.config import MACHINES

TABLE_ONE: Mapping[str, tuple[float, int, float, str, int]] = {
    "fan": (1e-3, 32, 0.1, "gmm", 16),
    "gearbox": (1e-3, 128, 10.0, "gmm", 64),
    "pump": (1e-3, 128, 10.0, "gmm", 2),
    "valve": (5e-4, 128, 10.0, "gmm", 32),
    "slider": (1e-3, 128, 10.0, "gmm", 2),
    "ToyCar": (1e-3, 128, 10.0, "lof", 16),
    "ToyTrain": (5e-4, 32, 0.1, "lof", 8),
}
"""Table I by machine type: lr, batch size, lambda, inlier model, p."""


@dataclass(frozen=True)
class PaperRow:
    """A row of Table II or III: harmonic means of AUC and pAUC over the test IDs, in percent.

    Attributes:
        scores: by machine type.
        over_all: harmonic mean over the machine types, as printed.
        models: trained networks; None if the table has no such column.
    """

    scores: Mapping[str, float]
    over_all: float
    models: int | None = None


def _row(scores: tuple[float, ...], over_all: float, models: int | None = None) -> PaperRow:
    return PaperRow(dict(zip(MACHINES, scores, strict=True)), over_all, models)


PARALLEL_ROW = _row((56.11, 62.43, 85.33, 66.68, 74.58, 68.46, 69.04), 67.93, 5)
SERIAL_ROW = _row((82.37, 66.22, 77.21, 72.06, 78.02, 54.72, 50.88), 66.78, 1)
DDCSAD_ROW = _row((69.21, 58.13, 68.55, 75.66, 59.56, 57.71, 57.71), 63.12, 3)
PROPOSED_ROW = _row((84.35, 68.42, 71.60, 65.03, 83.97, 62.08, 58.83), 69.42, 1)
WITHOUT_MIXUP_ROW = _row((86.35, 71.54, 66.52, 67.66, 81.88, 52.51, 59.90), 67.75)
WITHOUT_INLIER_ROW = _row((64.34, 49.80, 66.25, 57.19, 61.69, 50.51, 53.35), 56.93)
PRODUCT_IDS_ROW = _row((85.39, 66.07, 66.88, 58.16, 70.50, 51.68, 52.78), 62.79)
