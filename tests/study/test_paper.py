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


def test_table_one_is_as_printed() -> None:
    """Its rows are printed by hyperparameter; here they are by machine type."""
    printed = (
        (0.001, 0.001, 0.001, 0.0005, 0.001, 0.001, 0.0005),
        (32, 128, 128, 128, 128, 128, 32),
        (0.1, 10, 10, 10, 10, 10, 0.1),
        ("gmm", "gmm", "gmm", "gmm", "gmm", "lof", "lof"),
        (16, 64, 2, 32, 2, 16, 8),
    )
    names = ("fan", "gearbox", "pump", "valve", "slider", "ToyCar", "ToyTrain")
    assert dict(zip(names, zip(*printed, strict=True), strict=True)) == paper.TABLE_ONE


def test_table_one_has_every_machine_type() -> None:
    assert set(paper.TABLE_ONE) == set(MACHINES)
    assert len(ROWS) == 7
