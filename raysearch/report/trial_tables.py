"""trials.csv of the studies of a search, updated while it runs."""

from collections.abc import Sequence

from raysearch.backend.search_callback import SearchCallback, StudyProgress
from raysearch.report.trials_file import TrialsFile
from raysearch.search.budget import Budget
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Record


class TrialTables(SearchCallback):
    """Writer of trials.csv of every study: at the start, while trials end, and at the end."""

    def __init__(self, queues: Sequence[TrialQueue]) -> None:
        """Collect the records of earlier runs.

        Args:
            queues: of the studies.
        """
        self.queues = {queue.name: queue for queue in queues}
        self.tables = {
            queue.name: TrialsFile(queue.study.path, queue.space, queue.records.values())
            for queue in queues
        }

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Write the tables of the trials so far."""
        for table in self.tables.values():
            table.write()

    def on_trial_end(self, study: str, record: Record) -> None:
        """Add a trial to the table of its study."""
        self.tables[study].add(record)
        self.tables[study].write_when_due()

    def on_step_end(self) -> None:
        """Write the tables that are due."""
        for table in self.tables.values():
            table.write_when_due()

    def on_search_end(self) -> None:
        """Write complete tables."""
        for name, queue in self.queues.items():
            table = self.tables[name]
            for number, record in queue.records.items():
                if number not in table.lines:  # Pruned before its trial was started again.
                    table.add(record)
            table.write()
