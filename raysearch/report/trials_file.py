"""trials.csv: a row per trial, inlier model and p as trials end, and that of the reference."""

import csv
import io
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from upath import UPath

from raysearch.storage import write_text
from raysearch.study.records import Record
from raysearch.study.reference import NAME, read_reference
from raysearch.study.space import Space
from raysearch.training.outcome import InlierResult

PAUSE = 50
"""Pause after a write, in durations of that write; the last write does not wait.

The file is written whole each time, so without pauses n trials would cost n^2 lines. Small files,
and files of trials that take minutes, are still written after each trial.
"""


class TrialsFile:
    """Writer of `trials.csv`, always a whole file in the order of the trials."""

    def __init__(
        self,
        folder: UPath,
        space: Space,
        records: Iterable[Record] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect the records of earlier runs without writing.

        Args:
            folder: of the study.
            space: of the study.
            records: of trials that have ended.
            clock: in s.
        """
        self.path, self.clock = folder / "trials.csv", clock
        self.columns = columns(space.validation_keys, space.search.options)
        self.lines: dict[int, str] = {}
        self.pending, self.due = True, clock()
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add the record of a trial that ended; `write_when_due` or `write` writes it."""
        rows = trial_rows(record)
        self.lines[record.proposal.number] = _csv(self.columns, rows, header=False)
        self.pending = True

    def text(self) -> str:
        """Return the current content of the file."""
        ordered = (self.lines[number] for number in sorted(self.lines))
        reference = read_reference(self.path.parent)
        last = [] if reference is None else [reference_row(reference)]
        return "".join(
            [
                _csv(self.columns, (), header=True),
                *ordered,
                _csv(self.columns, last, header=False),
            ]
        )

    def write_when_due(self) -> None:
        """Write the file if a record is new and the pause after the last write is over."""
        if self.pending and self.clock() >= self.due:
            self.write()

    def write(self) -> None:
        """Write the file now."""
        start = self.clock()
        write_text(self.path, self.text())
        end = self.clock()
        self.pending, self.due = False, end + PAUSE * (end - start)


def columns(validation_ids: Iterable[str], options: Iterable[str] = ()) -> list[str]:
    """Return the columns of `trials.csv`.

    Args:
        validation_ids: with a column for the AUC and the pAUC of each.
        options: names of the searched options.
    """
    return [
        *("trial", "state", "lr", "batch_size", "lambda", *options, "inlier", "p"),
        *("epochs", "best_epoch", "seed", "rerun_of", "origin", "val_score"),
        *(f"val_{kind}_{i}" for i in validation_ids for kind in ("auc", "pauc")),
        *("val_loss", "train_seconds", "score_seconds", "encoder", "error"),
    ]


def trial_rows(record: Record) -> list[dict[str, Any]]:
    """Return the rows of a trial; a missing column or None is an empty cell.

    A failed or pruned trial has one row, without a score. An inlier model that could not be fitted
    has a row with the reason in `error`.
    """
    proposal = record.proposal
    common = {
        "trial": proposal.number,
        "state": str(record.state),
        **proposal.configuration.columns,
        **proposal.inlier_columns,
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "seed": record.seed,
        "rerun_of": proposal.rerun_of,
        "origin": proposal.origin,
        "val_loss": record.val_loss,
        "train_seconds": round(record.train_seconds, 3),
        "score_seconds": round(record.score_seconds, 3),
        "encoder": record.encoder,
        "error": record.error,
    }
    if not record.rows:
        return [common]
    return [common | _scores(row) for row in record.rows]


def reference_row(row: InlierResult) -> dict[str, Any]:
    """Return the row of the reference, which is no trial: its number is -1."""
    return {"trial": -1, "state": "REFERENCE", "origin": NAME, "epochs": 0, **_scores(row)}


def _scores(row: InlierResult) -> dict[str, Any]:
    return (
        {"inlier": row.inlier, "p": row.p, "val_score": row.val_score, "error": row.error}
        | {f"val_auc_{identity}": auc for identity, auc in row.auc.items()}
        | {f"val_pauc_{identity}": pauc for identity, pauc in row.pauc.items()}
    )


def _csv(names: Sequence[str], rows: Iterable[dict[str, Any]], *, header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
