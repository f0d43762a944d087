"""When and where a trial that failed on a machine starts again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.search.retries import (
    ATTEMPTS,
    FIRST_PAUSE,
    HOST_FAILURES,
    LONGEST_PAUSE,
    Failure,
    Retries,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failure(number: int = 0, node: str = "") -> Failure:
    return Failure("valve", number, "OSError: gone", "host", node)


def test_pauses_grow_until_a_trial_is_left_to_the_next_run() -> None:
    retries = Retries(2, Clock())
    pauses = [retries.fail(failure()) for _ in range(ATTEMPTS)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] is None
    growing = [pause for pause in pauses if pause is not None]
    assert len(growing) == ATTEMPTS - 1
    assert growing == sorted(growing)
    assert max(growing) <= LONGEST_PAUSE
    assert sum(growing) > 600  # a mount may be away for ten minutes


def test_a_trial_pauses_until_it_is_due() -> None:
    clock = Clock()
    retries = Retries(2, clock)
    retries.fail(failure())
    assert retries.pausing == {("valve", 0)}
    clock.now = FIRST_PAUSE
    assert retries.pausing == frozenset()


def test_an_epoch_forgives_a_trial_and_its_machine() -> None:
    retries = Retries(1, Clock())
    for _ in range(HOST_FAILURES):
        retries.fail(failure(node="a"))
    assert retries.avoid("valve", 1, ["a", "b"]) == ("a",)
    retries.succeed("valve", 0, "a")
    assert retries.avoid("valve", 0, ["a", "b"]) == ()
    assert retries.fail(failure()) == FIRST_PAUSE


def test_a_trial_goes_elsewhere_and_all_leave_a_machine_that_failed_three_times() -> None:
    retries = Retries(4, Clock())
    retries.fail(failure(0, "a"))
    assert retries.avoid("valve", 0, ["a", "b"]) == ("a",)
    assert retries.avoid("valve", 1, ["a", "b"]) == ()
    retries.fail(failure(1, "a"))
    retries.fail(failure(2, "a"))
    assert retries.avoid("valve", 3, ["a", "b"]) == ("a",)


def test_the_only_machine_is_never_avoided() -> None:
    retries = Retries(1, Clock())
    for _ in range(HOST_FAILURES):
        retries.fail(failure(node="a"))
    assert retries.avoid("valve", 0, ["a"]) == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=30))
def test_a_machine_is_left_for_every_trial(failures: list[tuple[int, str]]) -> None:
    retries = Retries(4, Clock())
    for number, node in failures:
        retries.fail(failure(number, node))
    for number in range(4):
        assert set("abc") - set(retries.avoid("valve", number, "abc"))


@pytest.mark.parametrize("concurrent", [1, 3])
def test_a_search_is_hopeless_when_all_attempts_of_all_trials_failed(concurrent: int) -> None:
    retries = Retries(concurrent, Clock())
    for number in [*range(concurrent)] * ATTEMPTS:
        assert not retries.is_hopeless
        retries.fail(failure(number))
    assert retries.is_hopeless
    retries.succeed("valve", 9, "")
    assert not retries.is_hopeless
