"""The dimensions of a space as Optuna samples them: ranges of numbers, and choices.

A list of numbers is sampled as a range, and a draw is rounded to the nearest entry. The sampler
then knows that 64 lies between 32 and 128, which categorical choices would hide.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysearch.config import Options, Value
from raysearch.study.searched import Number, Range, Searched, SearchedOption
from raysearch.study.space import Space
from raysearch.training.conditions import dependences, has_effect

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

    def nearest(self, value: Value) -> Number:
        """Return the value of the space nearest to a draw or to a value of another study."""
        value = float(value)
        if self.values is None:
            return min(max(value, self.low), self.high)
        index = bisect_left(self.values, value)
        neighbours = self.values[max(0, index - 1) : index + 1]
        return min(neighbours, key=lambda entry: (self._distance(entry, value), abs(entry - value)))

    def _distance(self, a: float, b: float) -> float:
        return abs(math.log(a / b)) if self.log and a > 0 and b > 0 else abs(a - b)


@dataclass(frozen=True)
class Choice:
    """A searched dimension without an order.

    Attributes:
        values: entries that are drawn.
    """

    values: Sequence[Value]

    @property
    def distribution(self) -> "BaseDistribution":
        """Optuna distribution of the dimension."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(self.values))

    def nearest(self, value: Value) -> Value:
        """Return a value of the space: this one, else the first."""
        return value if value in self.values else self.values[0]


Dimension = Axis | Choice


def axes(space: Space) -> dict[str, Dimension]:
    """Return the searched dimensions of an encoder by name.

    A dimension stands after the one that its effect depends on.
    """
    search = space.search
    axis_of: dict[str, Dimension] = {}
    if search.lr is not None:
        axis_of["lr"] = _axis(search.lr)
    if search.batch_size is not None:
        axis_of["batch_size"] = _batch_size_axis(search.batch_size)
    if search.lam is not None:
        axis_of["lambda"] = _axis(search.lam)
    axis_of |= {name: _option_axis(name, searched) for name, searched in search.options.items()}
    return dict(sorted(axis_of.items(), key=lambda item: len(dependences(item[0]))))


def select(
    space: Space, dimensions: Mapping[str, Dimension], choose: Callable[[str, Dimension], Value]
) -> dict[str, Value]:
    """Choose a value of each dimension that has an effect beside the values chosen before.

    Args:
        space: search space.
        dimensions: output of `axes`.
        choose: callback with name and dimension.
    """
    options = space.fixed.model_dump()
    chosen: dict[str, Value] = {}
    for name, dimension in dimensions.items():
        if has_effect(name, options | chosen):
            chosen[name] = choose(name, dimension)
    return chosen


def combinations(space: Space, dimensions: Mapping[str, Dimension]) -> Iterator[dict[str, Value]]:
    """Yield all configurations of a space of listed values, those of a dimension in a row."""
    options = space.fixed.model_dump()

    def extend(chosen: dict[str, Value], rest: list[str]) -> Iterator[dict[str, Value]]:
        if not rest:
            yield chosen
            return
        name, *rest = rest
        if not has_effect(name, options | chosen):
            yield from extend(chosen, rest)
            return
        for value in dimensions[name].values or ():
            yield from extend({**chosen, name: value}, rest)

    return extend({}, list(dimensions))


def p_axes(space: Space) -> dict[str, Axis]:
    """Return the axis of p by inlier model; models without p have none."""
    axis_of = {}
    for name, ps in space.search.inlier.items():
        values = [p for p in ps if p is not None]
        if values:
            axis_of[name] = _list_axis(values)
    return axis_of


def is_conditional(space: Space) -> bool:
    """Return True if a dimension has an effect with some values of another dimension only."""
    return any(set(dependences(name)) & space.search.options.keys() for name in axes(space))


def is_exhausted(space: Space, tried: Collection[object]) -> bool:
    """Return True if every configuration of a space was proposed.

    Args:
        space: search space.
        tried: distinct keys of the proposals.
    """
    inliers = len(space.search.specs) if space.strategy.inlier == "sample" else 1
    return len(tried) >= _count(space) * inliers


def _count(space: Space) -> float:
    """Return the number of configurations of encoders; infinite with a range."""
    dimensions, options = axes(space), space.fixed.model_dump()
    parents = {option for name in dimensions for option in dependences(name)}
    branching = {name: dimension for name, dimension in dimensions.items() if name in parents}
    rest = {name: dimension for name, dimension in dimensions.items() if name not in parents}
    return sum(
        math.prod(
            math.inf if dimension.values is None else len(dimension.values)
            for name, dimension in rest.items()
            if has_effect(name, options | chosen)
        )
        for chosen in combinations(space, branching)
    )


def _axis(searched: Searched) -> Axis:
    if isinstance(searched, Range):
        return Axis(searched.low, searched.high, searched.log)
    return _list_axis([float(value) for value in searched])


def _option_axis(name: str, searched: SearchedOption) -> Dimension:
    default = Options.model_fields[name].default
    if isinstance(searched, Range):
        if isinstance(default, int):
            low, high = int(searched.low), int(searched.high)
            return Axis(low, high, searched.log, range(low, high + 1))
        return Axis(searched.low, searched.high, searched.log)
    numbers = [v for v in searched if isinstance(v, int | float) and not isinstance(v, bool)]
    return _list_axis(numbers) if len(numbers) == len(searched) else Choice(searched)


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
