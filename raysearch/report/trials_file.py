"""trials.csv: one row per trial, inlier model and p, kept up to date while trials end."""

import csv
import io
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from upath import UPath

from raysearch.storage import write_text
from raysearch.study.records import Record

PAUSE = 50
"""A write is followed by a pause of so many times its own length, unless it is the last one.

The file is written whole each time, so without pauses n trials would cost n^2 lines. While it is
small, and wherever trials take minutes, it is written after each of them all the same.
"""


class TrialsFile:
    """Writes `trials.csv`: whole at any time, in the order of the trials, in the end complete."""

    def __init__(
        self,
        folder: UPath,
        validation_ids: Sequence[str],
        records: Iterable[Record] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the records of earlier runs; nothing is written yet.

        Args:
            folder: of the study.
            validation_ids: each has its own columns.
            records: of trials that have ended.
            clock: in s.
        """
        self.path, self.clock = folder / "trials.csv", clock
        self.columns = columns(validation_ids)
        self.lines: dict[int, str] = {}
        self.pending, self.due = True, clock()
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Takes the record of a trial that ended; `write_when_due` or `write` writes it."""
        rows = trial_rows(record)
        self.lines[record.proposal.number] = _csv(self.columns, rows, header=False)
        self.pending = True

    def text(self) -> str:
        """Return the content of the file as it would be written now."""
        ordered = (self.lines[number] for number in sorted(self.lines))
        return _csv(self.columns, (), header=True) + "".join(ordered)

    def write_when_due(self) -> None:
        """Writes the file if there is news and the pause after the last write is over."""
        if self.pending and self.clock() >= self.due:
            self.write()

    def write(self) -> None:
        """Writes the file now."""
        start = self.clock()
        write_text(self.path, self.text())
        end = self.clock()
        self.pending, self.due = False, end + PAUSE * (end - start)


def columns(validation_ids: Sequence[str]) -> list[str]:
    """The columns of `trials.csv`."""
    return [
        *("trial", "state", "lr", "batch_size", "lambda", "inlier", "p", "epochs", "best_epoch"),
        *("seed", "rerun_of", "origin", "val_score"),
        *(f"val_{kind}_{i}" for i in validation_ids for kind in ("auc", "pauc")),
        *("val_loss", "train_seconds", "score_seconds", "encoder", "error"),
    ]


def trial_rows(record: Record) -> list[dict[str, Any]]:
    """The rows of a trial; what a row leaves out, or is None, is empty in the table.

    A trial that failed or was given up has one row, without a score; a setting that could not be
    fitted has its row with the reason in `error`.
    """
    proposal = record.proposal
    common = {
        "trial": proposal.number,
        "state": str(record.state),
        **proposal.configuration.to_dict(),
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
    return [
        common
        | {"inlier": row.inlier, "p": row.p, "val_score": row.val_score, "error": row.error}
        | {f"val_auc_{identity}": auc for identity, auc in row.auc.items()}
        | {f"val_pauc_{identity}": pauc for identity, pauc in row.pauc.items()}
        for row in record.rows
    ]


def _csv(names: Sequence[str], rows: Iterable[dict[str, Any]], *, header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
