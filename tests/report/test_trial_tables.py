"""trials.csv of every study while a search runs, and when it has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from raysearch.report.trial_tables import TrialTables
from raysearch.report.trials_file import PAUSE
from raysearch.search.budget import Budget
from raysearch.search.trial_queue import TrialQueue
from tests.records import complete, row
from tests.search.queues import end, make_queue, space


@contextmanager
def following(queues: list[TrialQueue]) -> Iterator[TrialTables]:
    """Tables of a search that runs in this block."""
    tables = TrialTables(queues)
    tables.on_search_start(queues, Budget())
    yield tables
    tables.on_search_end()


def numbers(queue: TrialQueue) -> list[int]:
    """Trials of the table that lies in a study's folder."""
    return list(pd.read_csv(str(queue.study.path / "trials.csv"))["trial"])


def test_each_study_has_its_table_from_the_first_moment_on(tmp_path: Path) -> None:
    before = make_queue(tmp_path / "valve", space())
    first = before.next(())
    assert first is not None
    end(before, first)
    valve, fan = make_queue(tmp_path / "valve", space()), make_queue(tmp_path / "fan", space())
    with following([valve, fan]):
        assert numbers(valve) == [0]
        assert numbers(fan) == []


def test_a_trial_is_in_the_table_as_soon_as_it_ended(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space())
    with following([queue]) as tables:
        tables.tables["valve"].clock = lambda: 0.0  # however slow this machine is
        tables.tables["valve"].due = 0.0
        proposal = queue.next(())
        assert proposal is not None
        tables.on_trial_end("valve", end(queue, proposal))
        assert numbers(queue) == [0]


def test_a_trial_that_waited_for_the_next_write_is_written_as_time_passes(tmp_path: Path) -> None:
    queue, now = make_queue(tmp_path / "valve", space()), 0.0
    with following([queue]) as tables:
        tables.tables["valve"].clock = lambda: now
        tables.tables["valve"].due = PAUSE
        proposal = queue.next(())
        assert proposal is not None
        tables.on_trial_end("valve", end(queue, proposal))
        assert numbers(queue) == []
        now = PAUSE
        tables.on_step_end()
        assert numbers(queue) == [0]


def test_the_last_table_has_the_trials_that_it_was_not_told_of(tmp_path: Path) -> None:
    queue = make_queue(tmp_path / "valve", space())
    with following([queue]):
        proposal = queue.next(())
        assert proposal is not None
        # As of a trial that is pruned before it is started again.
        queue.tell(complete(proposal, row("gmm", 1, 0.5)))
        assert numbers(queue) == []
    assert numbers(queue) == [0]
