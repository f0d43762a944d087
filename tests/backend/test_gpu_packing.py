"""How many trials share a GPU, by what was measured."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from raysearch.backend import gpu_packing
from raysearch.backend.gpu_packing import best_count, fitting_counts, measure_gpu_part
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


@pytest.fixture(scope="module")
def pretended_gpu() -> Iterator[None]:
    """A Ray that takes this machine for one with a GPU; its processes train on the CPU."""
    ray.init(num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@contextmanager
def busy_gpu() -> Iterator[None]:
    """Hold the GPU as another search does."""
    group = placement_group([{"GPU": 1}])
    assert group.wait(30)
    yield
    remove_placement_group(group)


@pytest.mark.slow
@pytest.mark.usefixtures("pretended_gpu")
def test_processes_on_one_gpu_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_packing, "SECONDS", 0.2)
    monkeypatch.setattr(gpu_packing, "fitting_counts", lambda memory, total: [1, 2])
    # Two trainings of a CPU are hardly faster than one, ...
    assert measure_gpu_part(TINY, 8, [Node(1, 1)]) in (1.0, 0.5)
    # ... and what a training is worth beside another may be set here.
    monkeypatch.setattr(gpu_packing, "GAIN", 0.0)
    assert measure_gpu_part(TINY, 8, [Node(1, 1)]) == 0.5
    with busy_gpu():  # It is free again.
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("pretended_gpu")
def test_a_busy_gpu_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu_packing, "LIMIT", 1.0)
    with busy_gpu():
        assert measure_gpu_part(TINY, 8, [Node(1, 1)]) == 1.0
    assert "all GPUs have been busy for 1 s" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("pretended_gpu")
def test_a_measurement_that_takes_too_long_packs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_packing, "LIMIT", 0.5)
    assert measure_gpu_part(TINY, 8, [Node(1, 1)]) == 1.0
