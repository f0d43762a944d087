"""The same work done by a plain recipe and by raysearch, timed in turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Work = Callable[[], object]
"""A piece of work; whatever its result, the result is on the CPU when the call returns."""


class CannotRunError(Exception):
    """A part that this machine cannot run; the message is the reason."""


@dataclass(frozen=True)
class Duel:
    """A part of a search, as a plain recipe does it and as raysearch does it.

    Attributes:
        part: name of the part, as in the table.
        unit: of the work, for example "clips".
        amount: units that each call of `plain` and of `raysearch` works through.
        plain: work of the plain recipe.
        raysearch: the same work by raysearch.
        remark: what a reader must know of the sizes.
        is_cold: the work starts processes of its own, so nothing is warm and it knows itself how
            long it took: `plain` and `raysearch` return their seconds.
    """

    part: str
    unit: str
    amount: float
    plain: Work
    raysearch: Work
    remark: str = ""
    is_cold: bool = False


@dataclass(frozen=True)
class Timing:
    """Repeated times of a duel.

    Attributes:
        duel: what was timed.
        plain: seconds of each call of the plain recipe.
        raysearch: seconds of each call of raysearch.
    """

    duel: Duel
    plain: tuple[float, ...]
    raysearch: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median time of the plain recipe over that of raysearch: above 1, raysearch is faster."""
        return statistics.median(self.plain) / statistics.median(self.raysearch)

    def rate(self, seconds: tuple[float, ...]) -> float:
        """Return the units of work per second at the median of some times."""
        return self.duel.amount / statistics.median(seconds)


def measure(duel: Duel, repeats: int) -> Timing:
    """Time both sides of a duel in turns."""
    sides = (duel.plain, duel.raysearch)
    if duel.is_cold:
        rounds = [tuple(_returned(side) for side in sides) for _ in range(repeats)]
        plain, raysearch = zip(*rounds, strict=True)
    else:
        plain, raysearch = in_turns(sides, repeats)
    return Timing(duel, plain, raysearch)


def in_turns(works: Sequence[Work], repeats: int) -> list[tuple[float, ...]]:
    """Time several works in turns, so that a disturbance of the machine meets all of them.

    Each runs once before, which fills caches and compiles what is compiled.

    Returns:
        The seconds of each call of each work.
    """
    for work in works:
        work()
    rounds = [[_seconds(work) for work in works] for _ in range(repeats)]
    return [tuple(column) for column in zip(*rounds, strict=True)]


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _returned(work: Work) -> float:
    seconds = work()
    assert isinstance(seconds, float), seconds
    return seconds
