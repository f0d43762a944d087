"""Scores of recordings and of their segments, and of what is normal for a product ID."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raysearch.errors import UserError

Normal = Mapping[str, tuple[float, float]]
"""Product ID -> mean and standard deviation of the scores of its normal training clips."""

NormalScores = Mapping[str, Sequence[float]]
"""Product ID -> the scores of its normal training clips, by models not fitted on the clip."""


@dataclass(frozen=True)
class Score:
    """The anomaly score of a recording.

    Attributes:
        file: path of the recording; empty for samples.
        id: product ID of the inlier model.
        score: higher = more anomalous.
        threshold: of the product ID.
        anomalous: True if the score is above the threshold.
    """

    file: str
    id: str
    score: float
    threshold: float
    anomalous: bool

    def standardise(self, normal: Normal) -> "Score":
        """Return the score in standard deviations above the mean of its ID's normal clips."""
        mean, std = normal[self.id]
        return replace(
            self, score=(self.score - mean) / std, threshold=(self.threshold - mean) / std
        )


@dataclass(frozen=True)
class Window:
    """The anomaly score of a segment of a recording.

    Attributes:
        file: path of the recording; empty for samples.
        id: product ID of the inlier model.
        start: of the segment in s.
        end: of the segment in s.
        score: higher = more anomalous. An aggregator makes a recording's score of these.
    """

    file: str
    id: str
    start: float
    end: float
    score: float


def check_comparable(normal: Normal) -> None:
    """Check that scores of different product IDs can be standardised.

    Raises:
        UserError: the scores of normal clips are not known, or all alike for an ID.
    """
    if not normal:
        raise UserError(
            "this detector is of an earlier version, without the scores of normal clips that "
            "--id any compares; delete its folder and repeat the command of its run"
        )
    for identity, (_, std) in normal.items():
        if not std > 0:
            raise UserError(
                f"all normal clips of ID {identity} have the same score, so --id any cannot "
                "compare it; name the ID"
            )
