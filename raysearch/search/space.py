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
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, ValidationError, field_validator, model_validator

from raysearch.audio.dataset import parse_ids
from raysearch.config import Options, Strict, explain
from raysearch.errors import UserError
from raysearch.score.inlier import INLIERS, InlierSpec

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
    inlier: dict[str, tuple[int | None, ...]]

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
            specs = [InlierSpec(name, p) for p in values or [None]]
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


class Strategy(Strict):
    """How the space is searched.

    Attributes:
        trials: encoders that are trained (with `inlier: sample`, configurations that are tried).
        inlier: sweep scores every inlier model and p on each encoder; sample has the sampler
            choose them with the rest.
        sampler: of Optuna.
        scheduler: asha gives up a trial whose validation loss (with λ = 1, so that trials compare)
            at a rung (after 1, 4, 16, ... times `grace` epochs) is not among the best quarter of
            those that came as far; none never does.
        grace: epochs that every trial gets.
        seed: of the sampler and of the trials.
    """

    trials: int = Field(50, gt=0)
    inlier: Literal["sweep", "sample"] = "sweep"
    sampler: Literal["tpe", "random"] = "tpe"
    scheduler: Literal["none", "asha"] = "none"
    grace: int = Field(10, gt=0)
    seed: int = Field(0, ge=0, lt=2**32)


class Space(Strict):
    """A whole space file."""

    method: Literal["proposed"] = "proposed"
    validation_ids: PRODUCT_IDS = ("0", "1", "2")
    test_ids: tuple[str, ...] = ("3", "4", "5")
    search: Search
    fixed: Options = Options()
    strategy: Strategy = Strategy()

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
    def _disjoint(self) -> "Space":
        both = set(self.validation_ids) & set(self.test_ids)
        if both:
            raise ValueError(f"ID {min(both)} is in validation_ids and in test_ids")
        return self

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples for an encoder."""
        search = self.search
        found: dict[str, BaseDistribution] = {}
        for key, value in (("lr", search.lr), ("lambda", search.lam)):
            found[key] = (
                FloatDistribution(value.low, value.high, log=value.log)
                if isinstance(value, Range)
                else CategoricalDistribution([float(v) for v in value])
            )
        sizes = search.batch_size
        if not isinstance(sizes, Range):
            found["batch_size"] = CategoricalDistribution([int(v) for v in sizes])
        elif sizes.log:
            # Optuna knows no even logarithmic integers: halves are sampled and doubled.
            found["half_batch"] = IntDistribution(
                int(sizes.low) // 2, int(sizes.high) // 2, log=True
            )
        else:
            found["batch_size"] = IntDistribution(int(sizes.low), int(sizes.high), step=2)
        return found

    def inlier_distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples with `inlier: sample`: h, and p conditional on it."""
        found: dict[str, BaseDistribution] = {
            "inlier": CategoricalDistribution(list(self.search.inlier))
        }
        for name, ps in self.search.inlier.items():
            found[f"p_{name}"] = CategoricalDistribution(list(ps))
        return found


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
        problem = " ".join(str(error).split())
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
        for path in (asked, _shipped() / asked.name):
            if path.is_file():
                return path
        raise UserError(f"--space: there is no file {asked}")
    for name in (f"{machine}.yaml", "default.yaml"):
        for folder in (Path("search_spaces"), _shipped()):
            if (folder / name).is_file():
                return folder / name
    raise AssertionError("the package ships default.yaml")


def _shipped() -> Path:
    packed = Path(str(resources.files("raysearch"))) / "search_spaces"
    return packed if packed.is_dir() else packed.parent.parent / "search_spaces"
