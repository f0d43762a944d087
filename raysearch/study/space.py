"""search_spaces/*.yaml -> a checked space: what is fixed, what is searched, and how.

In `search`, a scalar fixes a value, a list chooses among some, `{low, high, log}` samples.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from raysearch.config import Options, Strict, explain
from raysearch.data.dataset import parse_ids
from raysearch.errors import UserError, one_line
from raysearch.scoring.spec import INLIERS, InlierSpec
from raysearch.study.strategy import ENOUGH, GRACE, REDUCTION, Finalists, Strategy

Number = int | float
PRODUCT_IDS = Annotated[tuple[str, ...], Field(min_length=1)]


class Range(Strict):
    """A range that is sampled; its ends are included."""

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
    # YAML reads 1e-3, which has no dot, as a text.
    with suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number, a list of numbers or {low, high, log} is expected")
    return value


def _names_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class Search(Strict):
    """What is searched; a single value is kept as a choice of one."""

    lr: Searched
    batch_size: Searched
    lam: Searched = Field(alias="lambda")
    inlier: dict[str, tuple[Number | None, ...]]

    @field_validator("lr", "batch_size", "lam", mode="before")
    @classmethod
    def _searched(cls, value: object) -> object:
        if isinstance(value, dict):
            return Range.model_validate(value)
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise ValueError("the list is empty")
        return tuple(dict.fromkeys(_number(one) for one in values))

    @field_validator("inlier", mode="before")
    @classmethod
    def _inliers(cls, value: object) -> object:
        if not isinstance(value, dict) or not value:
            raise ValueError("a mapping from inlier model to its values of p is expected")
        found = {}
        for name, ps in value.items():
            if name not in INLIERS:
                raise ValueError(f"unknown inlier model {name!r}; known: {', '.join(INLIERS)}")
            values = ps if isinstance(ps, list) else [ps]
            if not values and name != "none":
                raise ValueError(f"{name}: the list of p is empty")
            specs = [InlierSpec(name, p if p is None else _number(p)) for p in values or [None]]
            found[name] = tuple(dict.fromkeys(spec.p for spec in specs))
        return found

    @model_validator(mode="after")
    def _sensible(self) -> "Search":
        for key, value, least in (
            ("lr", self.lr, 0.0),
            ("batch_size", self.batch_size, 2.0),
            ("lambda", self.lam, 0.0),
        ):
            smallest = value.low if isinstance(value, Range) else min(value)
            if smallest < least or (key == "lr" and smallest == 0):
                raise ValueError(f"{key}: {smallest:g} is too small")
        sizes = (
            (self.batch_size.low, self.batch_size.high)
            if isinstance(self.batch_size, Range)
            else self.batch_size
        )
        if any(size != int(size) or size % 2 for size in sizes):
            raise ValueError(
                "batch_size: half of a batch is the target machine type, so sizes are even numbers"
            )
        return self

    @property
    def specs(self) -> tuple[InlierSpec, ...]:
        """Every inlier model with every p."""
        return tuple(InlierSpec(name, p) for name, ps in self.inlier.items() for p in ps)

    @property
    def largest_batch(self) -> int:
        """The largest batch size."""
        sizes = self.batch_size
        return int(sizes.high if isinstance(sizes, Range) else max(sizes))


class Space(Strict):
    """A whole space file.

    Attributes:
        tracking: who else is told of every trial.
    """

    method: Literal["proposed"] = "proposed"
    validation_ids: PRODUCT_IDS = ("0", "1", "2")
    test_ids: tuple[str, ...] = ("3", "4", "5")
    search: Search
    fixed: Options = Options()
    strategy: Strategy = Strategy()
    tracking: Literal["none", "mlflow"] = "none"

    @field_validator("validation_ids", "test_ids", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(map(_names_id, value)):
            raise ValueError("a list of product IDs is expected")
        ids = parse_ids(value)
        if len(set(ids)) < len(ids):
            raise ValueError("an ID is named twice")
        return ids

    @model_validator(mode="after")
    def _listed(self) -> "Space":
        for key, value in (
            ("lr", self.search.lr),
            ("batch_size", self.search.batch_size),
            ("lambda", self.search.lam),
        ):
            if self.strategy.sampler == "grid" and isinstance(value, Range):
                raise ValueError(f"sampler grid needs the values of search.{key} as a list")
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> "Space":
        both = set(self.validation_ids) & set(self.test_ids)
        if both:
            raise ValueError(f"ID {min(both)} is in validation_ids and in test_ids")
        return self

    @property
    def scheduler(self) -> Literal["none", "asha", "hyperband", "median"]:
        """What gives up trials, `auto` resolved."""
        asked = self.strategy.scheduler
        if asked == "auto":
            return "asha" if self.strategy.trials >= ENOUGH else "none"
        return asked

    @property
    def grace(self) -> int:
        """Epochs that every trial gets."""
        return self.strategy.grace or max(1, round(GRACE * self.fixed.epochs))

    @property
    def rungs(self) -> frozenset[int]:
        """Epochs after which a trial may be given up."""
        if self.scheduler == "none":
            return frozenset()
        if self.scheduler == "median":
            return frozenset(range(self.grace, self.fixed.epochs, self.grace))
        powers = (self.grace * REDUCTION**k for k in range(self.fixed.epochs.bit_length()))
        return frozenset(epoch for epoch in powers if epoch < self.fixed.epochs)

    @property
    def finalists(self) -> Finalists | None:
        """The finalists, `auto` resolved."""
        asked = self.strategy.finalists
        if isinstance(asked, Finalists):
            return asked
        return Finalists() if asked == "auto" and self.strategy.trials >= ENOUGH else None


def load_space(path: Path) -> Space:
    """Reads and checks a space file.

    Raises:
        UserError: one line with file and key.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = one_line(error)
        raise UserError(f"{path}: is no YAML: {problem}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: a mapping with the key `search` is expected")
    return check_space(content, str(path))


def check_space(content: Mapping[str, Any], where: str) -> Space:
    """Checks the content of a space file.

    Raises:
        UserError: one line with `where` and the key.
    """
    try:
        return Space.model_validate(dict(content))
    except ValidationError as error:
        raise explain(error, where) from error


def find_space(machine: str, asked: Path | None) -> Path:
    """Finds the space file of a machine type.

    The one that was asked for; else `<machine>.yaml`, else `default.yaml`, of ./search_spaces
    first and then of the copies shipped with the package.

    Raises:
        UserError: the one that was asked for does not exist.
    """
    if asked is not None:
        for path in (asked, shipped() / asked.name):
            if path.is_file():
                return path
        raise UserError(f"--space: there is no file {asked}")
    for name in (f"{machine}.yaml", "default.yaml"):
        for folder in (Path("search_spaces"), shipped()):
            if (folder / name).is_file():
                return folder / name
    raise AssertionError("the package ships default.yaml")


def shipped() -> Path:
    """Folder of the space files that come with the package."""
    packed = Path(str(resources.files("raysearch"))) / "search_spaces"
    return packed if packed.is_dir() else packed.parent.parent / "search_spaces"
