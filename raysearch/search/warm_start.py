"""Warm starts of a search: good configurations of the paper and of other studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from upath import UPath

from raysearch.config import PARALLEL, id_order
from raysearch.errors import UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.study.finalists import best_trials
from raysearch.study.folder import StudyFolder, studies_at
from raysearch.study.machines import SHARED
from raysearch.study.paper import TABLE_ONE
from raysearch.study.records import Record
from raysearch.training.combined import machine_key
from raysearch.training.configuration import Configuration

STARTS_PER_STUDY = 3
"""Number of configurations taken from each study."""


@dataclass(frozen=True)
class WarmStart:
    """A configuration proposed before the sampler's.

    Attributes:
        origin: source of the configuration, for display.
        inlier: inlier model; used only where it is sampled.
    """

    configuration: Configuration
    origin: str
    inlier: InlierSpec | None = None


def paper_start(machine: str) -> WarmStart:
    """Return the machine type's best configuration in the paper.

    Raises:
        UserError: the paper has none.
    """
    if machine not in TABLE_ONE:
        raise UserError(
            f"warm_start: paper: Table I has no {machine} (only {', '.join(TABLE_ONE)}); "
            "leave the key out of the space file"
        )
    lr, batch_size, lam, inlier, p = TABLE_ONE[machine]
    return WarmStart(Configuration(lr, batch_size, lam), "paper", InlierSpec(inlier, p))


def best_starts(records: Sequence[Record], name: str) -> list[WarmStart]:
    """Return the best configurations of a study, the best first, each encoder once.

    Args:
        records: of the study.
        name: of the study, for display.
    """
    starts = []
    for record in best_trials(records, STARTS_PER_STUDY):
        proposal, row = record.proposal, record.best
        if ("method", PARALLEL) in proposal.configuration.options:
            continue  # An ensemble has no hyperparameters.
        assert row is not None
        origin = f"{name} trial {proposal.number}"
        starts.append(WarmStart(proposal.configuration, origin, row.spec))
    return starts


def merge_starts(per_study: Sequence[Sequence[WarmStart]]) -> list[WarmStart]:
    """Merge by rank: the best of every study, then the second best of each, and so on."""
    return [start for rank in zip_longest(*per_study) for start in rank if start is not None]


def check_unseen(folder: UPath, machine: str, test_ids: Sequence[str]) -> None:
    """Check that no study of a warm start was chosen on the test IDs of a search.

    Args:
        folder: of a study, or of several.
        machine: machine type of the search.
        test_ids: of the search.

    Raises:
        UserError: a study of the same machine type has one of them as a validation ID.
    """
    for path in studies_at(folder):
        manifest = StudyFolder(path).manifest
        # Validation IDs of a shared search have the names of their machine types.
        names = {machine_key(machine, i) if manifest.machine == SHARED else i: i for i in test_ids}
        seen = sorted({names[i] for i in manifest.validation_ids if i in names}, key=id_order)
        if manifest.machine in (machine, SHARED) and seen:
            raise UserError(
                f"--warm-start {path}: its trials were chosen on ID {', '.join(seen)}, which this "
                f"run tests {machine} on; name a run with other validation_ids, or change test_ids"
            )


def read_warm_starts(folder: UPath) -> list[WarmStart]:
    """Read the best configurations of a study, or of every study in a folder.

    Raises:
        UserError: the folder has no study, or no study has a result.
    """
    studies = [StudyFolder(path) for path in studies_at(folder)]
    starts = merge_starts([best_starts(study.records(), str(study.path)) for study in studies])
    if not starts:
        missing = "no finished trial" if studies else "no study"
        raise UserError(f"--warm-start {folder}: {missing} there; name the folder of a run")
    return starts
