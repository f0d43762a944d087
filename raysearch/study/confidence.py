"""Confidence in a winner: the intervals of its score and of its lead on the second."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from upath import UPath

from raysearch.scoring.intervals import Interval, no_interval, score_interval
from raysearch.storage import write_text
from raysearch.study.scores import FinalScore, clip_scores_by_id
from raysearch.study.stored import MADE_AGAIN, checked, read_json

UNJUDGED = (
    "no validation labels: nothing was chosen by a score, the thresholds are of healthy clips "
    "alone, and nobody knows how many faults they find"
)
"""Limits of a detector of healthy clips."""

Members = tuple[tuple[str, str, float | None], ...]
"""Signature of an encoder, inlier model and p, for each seed of a configuration."""

RULE = 2
"""Version of the rule of the intervals; 1 is that of files without it, which ignored seeds."""


@dataclass(frozen=True)
class Confidence:
    """Intervals of a winner from its validation clips and seeds; None where not measurable.

    Attributes:
        of: members of the winner.
        against: members of the second; empty if its encoders are deleted or there is no second.
        low: lower bound of the winner's mean score, with 97.5 % confidence: over other clips and,
            with at least two seeds, other seeds.
        high: upper bound of this mean score.
        lead_low: lower bound of the lead on the second over other clips and other seeds; None with
            a single seed.
        lead_high: upper bound of this lead.
        note: remarks for the tables.
        missing: reason why there is no interval; empty with an interval.
        choices: number of configurations, inlier models included, of which the winner is the best.
        unselected: estimate of the score without the optimism of this choice; see
            `study.selection`.
        rule: version of the rule of the intervals.
    """

    of: Members = ()
    against: Members = ()
    low: float | None = None
    high: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None
    note: str = ""
    missing: str = ""
    choices: int = 1
    unselected: float | None = None
    rule: int = RULE

    @property
    def is_noise(self) -> bool:
        """True if the second may be better than the winner."""
        return self.lead_low is not None and self.lead_low <= 0

    @property
    def is_beyond_noise(self) -> bool:
        """True if the winner is better than the second with other clips and other seeds as well."""
        return self.lead_low is not None and self.lead_low > 0

    @property
    def over(self) -> str:
        """Sources of the errors that the interval of the score covers."""
        return "clips and seeds" if len(self.of) > 1 else "clips"


def read_confidence(folder: UPath) -> Confidence:
    """Read `confidence.json` of a run; empty if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / "confidence.json"
    if not path.is_file():
        return Confidence()
    return read_json(path, _confidence, MADE_AGAIN)


def _confidence(content: Mapping[str, Any]) -> Confidence:
    members = {
        key: tuple((encoder, inlier, p) for encoder, inlier, p in content[key])
        for key in ("of", "against")
    }
    return checked(Confidence(**{"rule": 1, **content, **members}))


def write_confidence(confidence: Confidence, folder: UPath) -> None:
    """Write `confidence.json`."""
    write_text(folder / "confidence.json", json.dumps(asdict(confidence), indent=2) + "\n")


def final_intervals(
    scores: Sequence[FinalScore], ids: Iterable[str]
) -> Mapping[str, Interval | None]:
    """Return the intervals of a final test over other clips, the detector being the same.

    Args:
        scores: of the test clips.
        ids: test IDs with labelled clips of both kinds.

    Returns:
        Test ID -> interval of the harmonic mean of its AUC and pAUC, and `hmean` -> the interval of
        that over all IDs; None where clips are missing or too few.
    """
    clips = clip_scores_by_id(scores, ids)
    parts = {identity: {identity: pair} for identity, pair in clips.items()}
    return {name: score_interval([part]) for name, part in {**parts, "hmean": clips}.items()}


def no_final_interval(scores: Sequence[FinalScore], ids: Iterable[str]) -> str:
    """Return the reason why a final test has no interval, for display; empty if it has one."""
    return no_interval([clip_scores_by_id(scores, ids)])
