"""The dimensions of a space as Optuna samples them: ranges of numbers.

A list of numbers is sampled as a range, and a draw is rounded to the nearest entry. The sampler
then knows that 64 lies between 32 and 128, which categorical choices would hide.
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
    """A searched dimension.

    Attributes:
        low: least value that is drawn.
        high: greatest value that is drawn.
        log: True if the logarithm is drawn uniformly.
        values: entries that a draw is rounded to, ascending; None does not round.
    """

    low: float
    high: float
    log: bool
    values: Sequence[Number] | None = None

    @property
    def distribution(self) -> "BaseDistribution":
        """Optuna distribution of the dimension."""
        # A late import: counting the configurations of a space needs no Optuna.
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def nearest(self, value: float) -> Number:
        """Return the value of the space nearest to a draw or to a value of another study."""
        if self.values is None:
            return min(max(value, self.low), self.high)
        index = bisect_left(self.values, value)
        neighbours = self.values[max(0, index - 1) : index + 1]
        return min(neighbours, key=lambda entry: (self._distance(entry, value), abs(entry - value)))

    def _distance(self, a: float, b: float) -> float:
        return abs(math.log(a / b)) if self.log and a > 0 and b > 0 else abs(a - b)


def axes(space: Space) -> dict[str, Axis]:
    """Return the searched dimensions of an encoder by name."""
    search = space.search
    return {
        "lr": _axis(search.lr),
        "batch_size": _batch_size_axis(search.batch_size),
        "lambda": _axis(search.lam),
    }


def p_axes(space: Space) -> dict[str, Axis]:
    """Return the axis of p by inlier model; models without p have none."""
    axis_of = {}
    for name, ps in space.search.inlier.items():
        values = [p for p in ps if p is not None]
        if values:
            axis_of[name] = _list_axis(values)
    return axis_of


def is_exhausted(space: Space, tried: Collection[object]) -> bool:
    """Return True if every configuration of a space was proposed.

    Args:
        space: search space.
        tried: distinct keys of the proposals.
    """
    values = [axis.values for axis in axes(space).values()]
    sizes = [math.inf if entries is None else len(entries) for entries in values]
    inliers = len(space.search.specs) if space.strategy.inlier == "sample" else 1
    return len(tried) >= math.prod(sizes) * inliers


def _axis(searched: Searched) -> Axis:
    if isinstance(searched, Range):
        return Axis(searched.low, searched.high, searched.log)
    return _list_axis([float(value) for value in searched])


def _batch_size_axis(searched: Searched) -> Axis:
    """Build the axis of the batch size: even, as half of a batch is the target machine type."""
    if isinstance(searched, Range):
        low, high = int(searched.low), int(searched.high)
        return Axis(low, high, searched.log, range(low, high + 1, 2))
    return _list_axis([int(value) for value in searched])


def _list_axis(values: Sequence[Number]) -> Axis:
    """Build a range in which every entry, also the first and the last, has an equal share."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Axis(ordered[0], ordered[0], False, ordered)
    log = ordered[0] > 0
    points = [math.log(value) if log else float(value) for value in ordered]
    low = points[0] - (points[1] - points[0]) / 2
    high = points[-1] + (points[-1] - points[-2]) / 2
    if log:
        # Rounding must not exclude an end.
        low, high = min(math.exp(low), ordered[0]), max(math.exp(high), ordered[-1])
    return Axis(low, high, log, ordered)
