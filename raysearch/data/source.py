"""The source of a search's recordings: their folder, and how they are selected and decoded."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.config import OUTLIER_EXPOSURE, Options
from raysearch.storage import AnyPath


@dataclass(frozen=True)
class Source:
    """Recordings of a search: their folder, and the options that select and decode them.

    Attributes:
        root: folder of the data set.
        machine: target machine type.
        validation_ids: product IDs whose labelled test clips score a trial.
        ground_truth: folder of ground-truth CSVs; None searches `root`.
        needs_others: refuse a data set without another machine type.
        test_domain: domain of test clips; None is `domain`.
        machines: machine types that are read, the target among them; empty reads all.
    """

    root: AnyPath
    machine: str
    validation_ids: tuple[str, ...]
    rate: int = 16000
    channel: int | None = None
    domain: str = "source"
    ground_truth: AnyPath | None = None
    allow_defects: bool = False
    needs_others: bool = True
    test_domain: str | None = None
    machines: tuple[str, ...] = ()


def make_source(
    root: AnyPath,
    machine: str,
    validation_ids: Sequence[str],
    options: Options,
    *,
    ground_truth: AnyPath | None = None,
    allow_defects: bool = False,
) -> Source:
    """Combine the folder of a data set with the options that select and decode its recordings.

    Paths become absolute: trials run in processes with another working folder.
    """
    return Source(
        root.absolute(),
        machine,
        tuple(validation_ids),
        options.rate,
        options.channel,
        options.domain,
        ground_truth.absolute() if ground_truth else None,
        allow_defects,
        options.method in OUTLIER_EXPOSURE,
        options.test_domain,
    )
