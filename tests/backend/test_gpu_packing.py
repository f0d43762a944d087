"""How many trials share a GPU, by what was measured."""

import pytest

from raysearch.backend.gpu_packing import _speed, best_count, fitting_counts, measure_gpu_part
from raysearch.backend.resources import Node
from tests.tiny import TINY

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(1, [1, 2, 3, 4, 6, 8]), (20, [1, 2, 3]), (36, [1, 2]), (37, [1]), (100, [1])],
)
def test_trials_are_tried_as_far_as_memory_goes(memory: int, expected: list[int]) -> None:
    assert fitting_counts(memory * GIB, 80 * GIB) == expected


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 105.0}, 1),
        ({1: 100.0, 2: 180.0, 3: 190.0}, 2),
        ({1: 100.0, 2: 180.0, 3: 240.0, 4: 300.0, 6: 310.0}, 4),
        ({1: 100.0, 2: 90.0, 3: 400.0}, 1),  # what comes after a step back is never measured
    ],
)
def test_trials_are_packed_while_that_gets_more_done(
    speeds: dict[int, float], expected: int
) -> None:
    assert best_count(speeds) == expected


def test_without_a_gpu_nothing_is_packed() -> None:
    assert measure_gpu_part(TINY, 32, [Node(8), Node(4)]) is None


def test_the_measurement_trains_what_a_trial_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.backend.gpu_packing.SECONDS", 0.1)
    assert _speed(TINY, 8, 0.0) > 0
