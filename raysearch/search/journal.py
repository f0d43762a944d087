"""The journal file of an Optuna study that a single process writes."""

import json
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class OneWriterJournal(BaseJournalBackend):
    """Writes what `JournalFileBackend`, and so optuna-dashboard, reads.

    Optuna's own backend locks, syncs and reads again at every step, for processes that share a
    study. Here one process writes, and a mirror that is lost is made anew from the records.
    """

    def __init__(self, path: Path) -> None:
        """Begins a journal; one that is there is replaced."""
        self.path = path
        self.path.write_bytes(b"")
        self.appended = 0
        self.unread: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """What was appended since it was called last."""
        logs, self.unread = self.unread, []
        assert log_number_from == self.appended - len(logs), "a journal has one reader"
        return logs

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends to the file."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with self.path.open("ab") as file:
            file.write(("\n".join(lines) + "\n").encode())
        # As a reader of the file would see it: keys are texts, and enumerations are numbers.
        self.unread += [json.loads(line) for line in lines]
        self.appended += len(lines)
