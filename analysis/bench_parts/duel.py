"""The same work done by a plain recipe and by raysearch, timed in turns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]
"""A piece of work; whatever its result, the result is on the CPU when the call returns."""


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
    """

    part: str
    unit: str
    amount: float
    plain: Work
    raysearch: Work
    remark: str = ""


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
    """Time both sides in turns, so that a disturbance of the machine meets both.

    Each side runs once before, which fills caches and compiles what is compiled.
    """
    duel.plain()
    duel.raysearch()
    rounds = [(_seconds(duel.plain), _seconds(duel.raysearch)) for _ in range(repeats)]
    return Timing(duel, tuple(p for p, _ in rounds), tuple(o for _, o in rounds))


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
