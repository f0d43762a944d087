"""The tables of trials of a search, kept up to date while it runs."""

from collections.abc import Sequence
from typing import Self

from raysearch.backend.search_callback import SearchCallback
from raysearch.report.trials_file import TrialsFile
from raysearch.search.trial_queue import Agenda
from raysearch.study.records import Record


class TrialTables(SearchCallback):
    """Writes trials.csv of every study: at the start, while trials end, and at the end."""

    def __init__(self, agendas: Sequence[Agenda]) -> None:
        """Take the records that the studies have.

        Args:
            agendas: of the studies.
        """
        self.agendas = {agenda.name: agenda for agenda in agendas}
        self.tables = {
            agenda.name: TrialsFile(
                agenda.study.path, agenda.space.validation_ids, agenda.records.values()
            )
            for agenda in agendas
        }

    def __enter__(self) -> Self:
        """Write what is known already."""
        for table in self.tables.values():
            table.write()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave whole tables."""
        for name, agenda in self.agendas.items():
            table = self.tables[name]
            for number, record in agenda.records.items():
                if number not in table.lines:  # Pruned before its trial was started again.
                    table.add(record)
            table.write()

    def on_trial_end(self, study: str, record: Record) -> None:
        """Add a trial to its table."""
        self.tables[study].add(record)
        self.tables[study].write_when_due()

    def on_step_end(self) -> None:
        """Write what waited."""
        for table in self.tables.values():
            table.write_when_due()
