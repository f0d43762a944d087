"""Snapshot of a search for a terminal: counts, running trials, the best so far."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from raysearch.backend.search_callback import StudyProgress
from raysearch.errors import printable
from raysearch.report.wording import (
    best_result,
    duration,
    format_encoder,
    format_inlier,
    format_option,
    format_value,
    validation_score,
)
from raysearch.study.records import Proposal, State


@dataclass
class Running:
    """A running trial.

    Attributes:
        since: start of the trial, a value of `time.monotonic`.
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
"""Studies by name."""

Trials = Mapping[tuple[str, int], Running]
"""Running trials by study and number."""


def render_search(
    studies: Studies,
    running: Trials,
    times: str,
    dashboard: str = "",
    outcome: Sequence[str] = (),
) -> Group:
    """Render studies and their running trials.

    Args:
        studies: of the search.
        running: the running trials.
        times: line of times and budgets.
        dashboard: address of the Ray dashboard.
        outcome: lines of the result of a finished study, in place of the best so far.
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
    title = f"{search_name(studies)}   {', '.join(counts)} of {total}"
    parts: list[Any] = [Text(printable(title), style="bold"), Text(times, style="bold")]
    if running:
        parts.append(_table(running, several=len(studies) > 1))
    parts += [Text(printable(line), style="green") for line in outcome or _best(studies)]
    if dashboard:
        parts.append(Text(f"Ray dashboard  {dashboard}", style="dim"))
    return Group(*parts)


def search_name(studies: Studies) -> str:
    """Return the name of the study, or the number of studies."""
    names = list(studies)
    return names[0] if len(names) == 1 else f"{len(names)} studies"


def trial_name(studies: Studies, study: str, number: int) -> str:
    """Return the name of a trial, with its study if there are several."""
    return f"trial {number}" if len(studies) == 1 else f"{study} trial {number}"


def _best(studies: Studies) -> Iterator[str]:
    for name, study in studies.items():
        best = best_result(list(study.records.values()))
        if best is not None:
            record, row = best
            trial = trial_name(studies, name, record.proposal.number)
            settings = f"{format_encoder(record.proposal.configuration)}, {format_inlier(row.spec)}"
            label = "trained    " if row.val_score is None else "best so far"
            yield f"{label}  {validation_score(row.val_score)}  {trial}: {settings}"


COLUMNS = ("trial", "lr", "batch", "λ", "epoch", "train loss", "val loss", "score", "time", "")


def _table(running: Trials, *, several: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("study", *COLUMNS) if several else COLUMNS:
        table.add_column(name, justify="right")
    now = time.monotonic()
    for (study, number), trial in sorted(running.items()):
        configuration = trial.proposal.configuration
        remarks = [*map(format_option, configuration.options), trial.note]
        table.add_row(
            *([Text(printable(study))] if several else []),
            str(number),
            format_value(configuration.lr),
            format_value(configuration.batch_size),
            format_value(configuration.lam),
            f"{trial.epoch}/{trial.epochs}",
            _cell(trial.train_loss),
            _cell(trial.val_loss),
            _cell(trial.score),
            duration(now - trial.since),
            Text(printable(", ".join(filter(None, remarks)))),
        )
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
