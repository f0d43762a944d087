"""The picture of a search at one moment: counts, trials that run, the best so far."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from raysearch.backend.search_callback import StudyProgress
from raysearch.report.wording import best_of, duration, encoder_words, inlier_words
from raysearch.study.records import Proposal, State


@dataclass
class Running:
    """A trial that runs.

    Attributes:
        since: when it began, as `time.monotonic` tells it.
    """

    proposal: Proposal
    epochs: int
    since: float
    epoch: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    score: float | None = None
    note: str = ""


Studies = Mapping[str, StudyProgress]
"""By their names."""

Trials = Mapping[tuple[str, int], Running]
"""By study and number."""


def picture(
    studies: Studies,
    running: Trials,
    times: str,
    dashboard: str = "",
    outcome: Sequence[str] = (),
) -> Group:
    """Draws studies and their trials.

    Args:
        studies: that are searched.
        running: trials at work.
        times: how long it takes.
        dashboard: address of Ray's.
        outcome: what came out in the end, instead of the best so far.
    """
    states = Counter(
        record.state for study in studies.values() for record in study.records.values()
    )
    counts = [
        f"{len(running)} running",
        f"{states[State.COMPLETE]} finished",
        f"{states[State.PRUNED]} pruned",
        f"{states[State.FAIL]} failed",
    ]
    total = sum(study.total for study in studies.values())
    head = f"{name_of(studies)}   {', '.join(counts)} of {total}"
    parts: list[Any] = [Text(head, style="bold"), Text(times, style="bold")]
    if running:
        parts.append(_table(running, several=len(studies) > 1))
    parts += [Text(line, style="green") for line in outcome or _best(studies)]
    if dashboard:
        parts.append(Text(f"Ray dashboard  {dashboard}", style="dim"))
    return Group(*parts)


def name_of(studies: Studies) -> str:
    """What to call all that is followed."""
    names = list(studies)
    return names[0] if len(names) == 1 else f"{len(names)} studies"


def trial_of(studies: Studies, study: str, number: int) -> str:
    """What to call a trial."""
    return f"trial {number}" if len(studies) == 1 else f"{study} trial {number}"


def _best(studies: Studies) -> Iterator[str]:
    for name, study in studies.items():
        best = best_of(list(study.records.values()))
        if best is not None:
            record, row = best
            trial = trial_of(studies, name, record.proposal.number)
            what = f"{encoder_words(record.proposal.configuration)}, {inlier_words(row.spec)}"
            yield f"best so far  {row.val_score:.4f}  {trial}: {what}"


COLUMNS = ("trial", "lr", "batch", "λ", "epoch", "train loss", "val loss", "score", "time", "")


def _table(running: Trials, *, several: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("study", *COLUMNS) if several else COLUMNS:
        table.add_column(name, justify="right")
    now = time.monotonic()
    for (study, number), trial in sorted(running.items()):
        configuration = trial.proposal.configuration
        table.add_row(
            *([study] if several else []),
            str(number),
            f"{configuration.lr:.3g}",
            str(configuration.batch_size),
            f"{configuration.lam:.3g}",
            f"{trial.epoch}/{trial.epochs}",
            _figure(trial.train_loss),
            _figure(trial.val_loss),
            _figure(trial.score),
            duration(now - trial.since),
            trial.note,
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
