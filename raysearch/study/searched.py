"""The `search` of a space file: dimensions with their values.

A scalar is a fixed value, a list holds choices, `{low, high, log}` is a range.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from raysearch.config import PARALLEL, Options, Strict, Value, parse_option
from raysearch.scoring.spec import INLIERS, InlierSpec

Number = int | float


class Range(Strict):
    """A sampled range, including its ends."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"the range is empty: low {self.low:g} >= high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low > 0, has {self.low:g}")
        return self


Searched = Range | tuple[Number, ...]


def _number(value: object) -> Number:
    # YAML reads 1e-3, which has no dot, as a string.
    with suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number, a list of numbers or {low, high, log} is expected")
    return value


SearchedOption = Range | tuple[Value, ...]

UNSEARCHABLE = {
    "epochs": "rungs and pruning compare trials of equal length",
    "rate": "all trials share the decoded recordings",
    "channel": "all trials share the decoded recordings",
    "domain": "all trials share the recordings",
    "test_domain": "all trials share the recordings",
    "aggregator": "it is a mapping",
    "threshold_quantile": "no score depends on it",
}
"""Options that cannot be searched, with the reason."""


def check_option(name: str, searched: object) -> SearchedOption:
    """Validate the values of a searched option.

    Args:
        name: of the option.
        searched: a value, a list of values, or the mapping of a range of numbers.

    Raises:
        ValueError: the option cannot be searched, or not over these values.
    """
    if name in UNSEARCHABLE:
        raise ValueError(f"{name}: cannot be searched: {UNSEARCHABLE[name]}; set it in fixed")
    if isinstance(searched, Range | dict):
        try:
            values = Range.model_validate(searched)
        except ValidationError as error:
            raise ValueError(_problem(name, error)) from error
        if isinstance(Options.model_fields[name].default, bool | str):
            raise ValueError(f"{name}: has no range; give a list of its values")
        return values
    entries = searched if isinstance(searched, list | tuple) else [searched]
    if not entries:
        raise ValueError(f"{name}: the list is empty")
    if name == "method" and PARALLEL in entries:
        raise ValueError(f"{name}: {PARALLEL} has studies of its own; set it in fixed")
    try:
        return tuple(dict.fromkeys(parse_option(name, entry) for entry in entries))
    except ValidationError as error:
        raise ValueError(_problem(name, error)) from error


def _problem(name: str, error: ValidationError) -> str:
    return f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"


class Search(Strict):
    """The searched dimensions; a single value is stored as a list of one entry.

    Attributes:
        lr: peak learning rate; None if no method of the space has it.
        batch_size: samples of a batch; None likewise.
        lam: λ; None likewise.
        inlier: values of p by inlier model.
        options: searched options by name; a space file has them beside the others.
    """

    lr: Searched | None = None
    batch_size: Searched | None = None
    lam: Searched | None = Field(None, alias="lambda")
    inlier: dict[str, tuple[Number | None, ...]]
    options: dict[str, SearchedOption] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, content: object) -> object:
        if not isinstance(content, Mapping):
            return content
        if "options" in content:
            raise ValueError("options: unknown key")
        options = {name: value for name, value in content.items() if name in Options.model_fields}
        rest = {name: value for name, value in content.items() if name not in options}
        return rest | {"options": options}

    @field_validator("options", mode="before")
    @classmethod
    def _options(cls, content: object) -> object:
        assert isinstance(content, Mapping), content
        return {name: check_option(name, value) for name, value in content.items()}

    @model_serializer(mode="wrap")
    def _flatten(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write searched options as a space file has them; leave λ out if there is none."""
        content: dict[str, Any] = serialise(self)
        options = content.pop("options")
        written: dict[str, Any] = {k: v for k, v in content.items() if v is not None} | options
        return written

    @field_validator("lr", "batch_size", "lam", mode="before")
    @classmethod
    def _searched(cls, value: object) -> object:
        if isinstance(value, dict):
            return Range.model_validate(value)
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise ValueError("the list is empty")
        return tuple(dict.fromkeys(_number(entry) for entry in values))

    @field_validator("inlier", mode="before")
    @classmethod
    def _inliers(cls, value: object) -> object:
        if not isinstance(value, dict) or not value:
            raise ValueError("a mapping from inlier model to its values of p is expected")
        p_of = {}
        for name, ps in value.items():
            if name not in INLIERS:
                raise ValueError(f"unknown inlier model {name!r}; known: {', '.join(INLIERS)}")
            values = ps if isinstance(ps, list) else [ps]
            if not values and name != "none":
                raise ValueError(f"{name}: the list of p is empty")
            specs = [InlierSpec(name, p if p is None else _number(p)) for p in values or [None]]
            p_of[name] = tuple(dict.fromkeys(spec.p for spec in specs))
        return p_of

    @model_validator(mode="after")
    def _values_in_bounds(self) -> "Search":
        for key, value, minimum in (
            ("lr", self.lr, 0.0),
            ("batch_size", self.batch_size, 2.0),
            ("lambda", self.lam, 0.0),
        ):
            if value is None:
                continue
            smallest = value.low if isinstance(value, Range) else min(value)
            if smallest < minimum or (key == "lr" and smallest == 0):
                raise ValueError(f"{key}: {smallest:g} is too small")
        sizes = self.batch_size or ()
        sizes = (sizes.low, sizes.high) if isinstance(sizes, Range) else sizes
        if any(size != int(size) or size % 2 for size in sizes):
            raise ValueError(
                "batch_size: half of a batch is the target machine type, so sizes are even numbers"
            )
        return self

    @property
    def specs(self) -> tuple[InlierSpec, ...]:
        """All pairs of an inlier model and a p."""
        return tuple(InlierSpec(name, p) for name, ps in self.inlier.items() for p in ps)

    @property
    def largest_batch(self) -> int:
        """The largest batch size; 0 if nothing is trained."""
        sizes = self.batch_size or (0,)
        return int(sizes.high if isinstance(sizes, Range) else max(sizes))

    def get(self, name: str) -> SearchedOption | None:
        """Return the values of a dimension by its name in space files; None if it has none."""
        if name in ("lr", "batch_size", "lambda"):
            searched: Searched | None = getattr(self, "lam" if name == "lambda" else name)
            return searched
        return self.options.get(name)

    def varies(self, name: str) -> bool:
        """Return True if a dimension has more than one value."""
        searched = self.get(name)
        return isinstance(searched, Range) or (searched is not None and len(searched) > 1)
