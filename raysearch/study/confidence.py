"""Confidence in a winner: the intervals of its score and of its lead on the second."""

import json
from dataclasses import asdict, dataclass

from upath import UPath

from raysearch.storage import write_text

Members = tuple[tuple[str, str, float | None], ...]
"""Signature of an encoder, inlier model and p, for each seed of a configuration."""


@dataclass(frozen=True)
class Confidence:
    """Intervals of a winner from resampled validation clips; None where not measurable.

    Attributes:
        of: members of the winner.
        against: members of the second; empty if its encoders are deleted or there is no second.
        low: lower bound of the winner's mean score over its seeds, with 97.5 % confidence.
        high: upper bound of this mean score.
        lead_low: lower bound of the lead on the second, over the seeds that both have.
        lead_high: upper bound of this lead.
        note: remarks for the tables.
    """

    of: Members = ()
    against: Members = ()
    low: float | None = None
    high: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None
    note: str = ""

    @property
    def is_noise(self) -> bool:
        """True if the second may be better than the winner."""
        return self.lead_low is not None and self.lead_low <= 0


def read_confidence(folder: UPath) -> Confidence:
    """Read `confidence.json` of a run; empty if there is no file."""
    path = folder / "confidence.json"
    if not path.is_file():
        return Confidence()
    content = json.loads(path.read_text())
    for key in ("of", "against"):
        content[key] = tuple((encoder, inlier, p) for encoder, inlier, p in content[key])
    return Confidence(**content)


def write_confidence(confidence: Confidence, folder: UPath) -> None:
    """Write `confidence.json`."""
    write_text(folder / "confidence.json", json.dumps(asdict(confidence), indent=2) + "\n")
