"""The dimensions of a space as Optuna samples them: every one a range of numbers.

A list of numbers is sampled as a range, too, and what is drawn goes to its nearest entry. So a
sampler knows that 64 lies between 32 and 128, which a mere set of choices would hide from it.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysearch.study.space import Number, Range, Searched, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Axis:
    """One searched number.

    Attributes:
        low: least value that is drawn.
        high: greatest value that is drawn.
        log: whether its logarithm is drawn evenly.
        values: what a draw is moved to, ascending; None leaves it where it is.
    """

    low: float
    high: float
    log: bool
    values: Sequence[Number] | None = None

    @property
    def distribution(self) -> "BaseDistribution":
        """What Optuna draws from."""
        # Here: who only counts what a space holds needs no Optuna.
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def nearest(self, value: float) -> Number:
        """The value of the space that is nearest to one that was drawn, or found elsewhere."""
        if self.values is None:
            return min(max(value, self.low), self.high)
        place = bisect_left(self.values, value)
        around = self.values[max(0, place - 1) : place + 1]
        return min(around, key=lambda known: (self._distance(known, value), abs(known - value)))

    def _distance(self, a: float, b: float) -> float:
        return abs(math.log(a / b)) if self.log and a > 0 and b > 0 else abs(a - b)


def axes(space: Space) -> dict[str, Axis]:
    """What is searched of an encoder."""
    search = space.search
    return {
        "lr": _axis(search.lr),
        "batch_size": _sizes(search.batch_size),
        "lambda": _axis(search.lam),
    }


def p_axes(space: Space) -> dict[str, Axis]:
    """The p of every inlier model that has one."""
    found = {}
    for name, ps in space.search.inlier.items():
        values = [p for p in ps if p is not None]
        if values:
            found[name] = _listed(values)
    return found


def is_exhausted(space: Space, tried: Collection[object]) -> bool:
    """Tell whether everything in a space was tried.

    Args:
        space: that is searched.
        tried: keys of the proposals, each once.
    """
    values = [axis.values for axis in axes(space).values()]
    sizes = [math.inf if one is None else len(one) for one in values]
    inliers = len(space.search.specs) if space.strategy.inlier == "sample" else 1
    return len(tried) >= math.prod(sizes) * inliers


def _axis(searched: Searched) -> Axis:
    if isinstance(searched, Range):
        return Axis(searched.low, searched.high, searched.log)
    return _listed([float(value) for value in searched])


def _sizes(searched: Searched) -> Axis:
    """Batch sizes are even: half of a batch is the target machine type."""
    if isinstance(searched, Range):
        low, high = int(searched.low), int(searched.high)
        return Axis(low, high, searched.log, range(low, high + 1, 2))
    return _listed([int(value) for value in searched])


def _listed(values: Sequence[Number]) -> Axis:
    """A range of which every entry has its share, the first and the last as large as the others."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Axis(ordered[0], ordered[0], False, ordered)
    log = ordered[0] > 0
    points = [math.log(value) if log else float(value) for value in ordered]
    low = points[0] - (points[1] - points[0]) / 2
    high = points[-1] + (points[-1] - points[-2]) / 2
    if log:
        # Not even by rounding is an end left out.
        low, high = min(math.exp(low), ordered[0]), max(math.exp(high), ordered[-1])
    return Axis(low, high, log, ordered)
