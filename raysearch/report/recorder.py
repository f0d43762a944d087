"""The live view of a search, which also keeps every study's trials.csv up to date."""

from collections.abc import Sequence
from typing import Self

from rich.console import Console

from raysearch.report.live import LiveView
from raysearch.report.trials import TrialsFile
from raysearch.search.agenda import Agenda
from raysearch.search.budget import Budget
from raysearch.search.records import Record


class Recorder(LiveView):
    """Writes the tables in the end as well as while it runs."""

    def __init__(self, agendas: Sequence[Agenda], budget: Budget, console: Console) -> None:
        super().__init__(console, agendas, budget)
        self.tables = {
            agenda.name: TrialsFile(
                agenda.study.path, agenda.space.validation_ids, agenda.records.values()
            )
            for agenda in agendas
        }

    def __enter__(self) -> Self:
        """Starts to draw; what is known already is in the tables."""
        for table in self.tables.values():
            table.write()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        """Leaves whole tables."""
        super().__exit__(*error)
        for name, study in self.studies.items():
            table = self.tables[name]
            for number, record in study.records.items():
                if number not in table.lines:  # Given up before its trial was started again.
                    table.add(record)
            table.write()

    def finished(self, study: str, record: Record) -> None:
        """A trial ended."""
        super().finished(study, record)
        self.tables[study].add(record)
        self.tables[study].write_when_due()

    def tick(self) -> None:
        """Time has passed."""
        super().tick()
        for table in self.tables.values():
            table.write_when_due()
