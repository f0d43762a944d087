"""Where a search may begin rather than at random: at what was good elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from upath import UPath

from raysearch.config import Configuration
from raysearch.errors import UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials
from raysearch.study.folder import StudyFolder, studies_at
from raysearch.study.records import Record

GOOD = 3
"""Configurations that are taken over from each study."""


@dataclass(frozen=True)
class WarmStart:
    """A configuration to begin with.

    Attributes:
        origin: where it was found, for people.
        inlier: its inlier model, which counts only where that is sampled.
    """

    configuration: Configuration
    origin: str
    inlier: InlierSpec | None = None


_PAPER = {
    "fan": (1e-3, 32, 0.1, "gmm", 16),
    "gearbox": (1e-3, 128, 10.0, "gmm", 64),
    "pump": (1e-3, 128, 10.0, "gmm", 2),
    "valve": (5e-4, 128, 10.0, "gmm", 32),
    "slider": (1e-3, 128, 10.0, "gmm", 2),
    "ToyCar": (1e-3, 128, 10.0, "lof", 16),
    "ToyTrain": (5e-4, 32, 0.1, "lof", 8),
}
"""Table I of Kuroyanagi et al. 2022: lr, batch size, lambda, inlier model, p."""


def paper_start(machine: str) -> WarmStart:
    """The machine type's best configuration in the paper.

    Raises:
        UserError: the paper has none.
    """
    if machine not in _PAPER:
        raise UserError(
            f"warm_start: paper: Table I has no {machine} (only {', '.join(_PAPER)}); "
            "leave the key out of the space file"
        )
    lr, batch_size, lam, inlier, p = _PAPER[machine]
    return WarmStart(Configuration(lr, batch_size, lam), "paper", InlierSpec(inlier, p))


def best_starts(records: Sequence[Record], name: str) -> list[WarmStart]:
    """The best configurations of a study, the best first, each encoder once.

    Args:
        records: of the study.
        name: of the study, for people.
    """
    starts = []
    for record in best_trials(records, GOOD):
        proposal, row = record.proposal, record.best
        assert row is not None
        origin = f"{name} trial {proposal.number}"
        starts.append(WarmStart(proposal.configuration, origin, row.spec))
    return starts


def merge_starts(found: Sequence[Sequence[WarmStart]]) -> list[WarmStart]:
    """The best of every study first, then the second best of each, and so on."""
    return [start for rank in zip_longest(*found) for start in rank if start is not None]


def read_warm_starts(place: UPath) -> list[WarmStart]:
    """The best configurations of a study, or of every study in a folder.

    Raises:
        UserError: there is none, or none has a result.
    """
    studies = [StudyFolder(folder) for folder in studies_at(place)]
    found = merge_starts([best_starts(study.records(), str(study.path)) for study in studies])
    if not found:
        what = "no finished trial" if studies else "no study"
        raise UserError(f"--warm-start {place}: {what} there; name the folder of a run")
    return found
