"""How sure a winner is: the interval of its score, and that of its lead on the second."""

import json
from dataclasses import asdict, dataclass

from upath import UPath

from raysearch.storage import write_text

Members = tuple[tuple[str, str, float | None], ...]
"""Signature of an encoder, inlier model and p, for each seed of a configuration."""


@dataclass(frozen=True)
class Confidence:
    """What resampling the validation clips says of a winner; None where it could not be done.

    Attributes:
        of: what it was measured of: the winner.
        against: and the second; empty if its encoders are gone or there is none.
        low: the winner's mean score over its seeds is above, with 97.5 % confidence.
        high: and below.
        lead_low: its lead on the second's mean score is above, over as many seeds as both have.
        lead_high: and below.
        note: all that a reader must know, for the tables.
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
        """Whether the second may as well be the better one."""
        return self.lead_low is not None and self.lead_low <= 0


def read_confidence(folder: UPath) -> Confidence:
    """What `confidence.json` of a run says; nothing if there is none."""
    path = folder / "confidence.json"
    if not path.is_file():
        return Confidence()
    content = json.loads(path.read_text())
    for key in ("of", "against"):
        content[key] = tuple((encoder, inlier, p) for encoder, inlier, p in content[key])
    return Confidence(**content)


def write_confidence(confidence: Confidence, folder: UPath) -> None:
    """Writes `confidence.json`."""
    write_text(folder / "confidence.json", json.dumps(asdict(confidence), indent=2) + "\n")
