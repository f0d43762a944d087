"""The figures of the paper as they were typed in."""

from statistics import harmonic_mean

import pytest

from raysearch.config import MACHINES
from raysearch.study import paper
from raysearch.study.paper import PaperRow

ROWS = {name: value for name, value in vars(paper).items() if isinstance(value, PaperRow)}


@pytest.mark.parametrize("name", ROWS)
def test_the_last_column_is_the_harmonic_mean_of_the_others(name: str) -> None:
    row = ROWS[name]
    assert list(row.scores) == list(MACHINES)
    # Printed figures are rounded, the parallel system's a little more.
    assert harmonic_mean(row.scores.values()) == pytest.approx(row.over_all, abs=0.0065)


def test_table_one_has_every_machine_type() -> None:
    assert set(paper.TABLE_ONE) == set(MACHINES)
    assert len(ROWS) == 7
