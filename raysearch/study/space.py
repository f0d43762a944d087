"""Space files, search_spaces/*.yaml: the fixed options, the searched dimensions, the strategy.

In `search`, a scalar is a fixed value, a list holds choices, `{low, high, log}` is a range.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from raysearch.config import HYPERPARAMETERS_OF, Options, Strict, explain
from raysearch.data.dataset import parse_ids
from raysearch.errors import UserError, one_line
from raysearch.scoring.spec import INLIERS, InlierSpec
from raysearch.study.strategy import AUTO_TRIALS, GRACE, REDUCTION, Finalists, Strategy

Number = int | float
PRODUCT_IDS = Annotated[tuple[str, ...], Field(min_length=1)]


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


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class Search(Strict):
    """The searched dimensions; a single value is stored as a list of one entry."""

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
            smallest = value.low if isinstance(value, Range) else min(value)
            if smallest < minimum or (key == "lr" and smallest == 0):
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
        """All pairs of an inlier model and a p."""
        return tuple(InlierSpec(name, p) for name, ps in self.inlier.items() for p in ps)

    @property
    def largest_batch(self) -> int:
        """The largest batch size."""
        sizes = self.batch_size
        return int(sizes.high if isinstance(sizes, Range) else max(sizes))


class Space(Strict):
    """The content of a space file.

    Attributes:
        tracking: further tracker of trials.
    """

    validation_ids: PRODUCT_IDS = ("0", "1", "2")
    test_ids: tuple[str, ...] = ("3", "4", "5")
    search: Search
    fixed: Options = Options()
    strategy: Strategy = Strategy()
    tracking: Literal["none", "mlflow"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _method(cls, content: object) -> object:
        """Move `method` from the top level, where the first version had it, to `fixed`."""
        if not isinstance(content, Mapping) or "method" not in content:
            return content
        rest = {key: value for key, value in content.items() if key != "method"}
        fixed = rest.get("fixed") or {}
        if not isinstance(fixed, Mapping):
            return rest
        if fixed.get("method", content["method"]) != content["method"]:
            raise ValueError("method: is set at the top level and, differently, in fixed")
        return rest | {"fixed": {**fixed, "method": content["method"]}}

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: object) -> object:
        """Give hyperparameters that the method does not have a single value."""
        match content:
            case {"search": Mapping() as search}:
                absent = {"lambda": 1.0} if _uses_no_lambda(content) else {}
                return {**content, "search": {**absent, **search}}
        return content

    @model_validator(mode="after")
    def _one_lambda(self) -> "Space":
        lam = self.search.lam
        without = "lam" not in HYPERPARAMETERS_OF[self.fixed.method]
        if without and (isinstance(lam, Range) or len(lam) > 1):
            raise ValueError(f"search.lambda: {self.fixed.method} has no λ; leave it out")
        return self

    @field_validator("validation_ids", "test_ids", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(map(_is_id, value)):
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
        common = set(self.validation_ids) & set(self.test_ids)
        if common:
            raise ValueError(f"ID {min(common)} is in validation_ids and in test_ids")
        return self

    @property
    def scheduler(self) -> Literal["none", "asha", "hyperband", "median"]:
        """Pruning algorithm, `auto` resolved."""
        scheduler = self.strategy.scheduler
        if scheduler == "auto":
            return "asha" if self.strategy.trials >= AUTO_TRIALS else "none"
        return scheduler

    @property
    def grace(self) -> int:
        """Number of epochs before a trial may be pruned."""
        return self.strategy.grace or max(1, round(GRACE * self.fixed.epochs))

    @property
    def rungs(self) -> frozenset[int]:
        """Epochs after which a trial may be pruned."""
        if self.scheduler == "none":
            return frozenset()
        if self.scheduler == "median":
            return frozenset(range(self.grace, self.fixed.epochs, self.grace))
        powers = (self.grace * REDUCTION**k for k in range(self.fixed.epochs.bit_length()))
        return frozenset(epoch for epoch in powers if epoch < self.fixed.epochs)

    @property
    def finalists(self) -> Finalists | None:
        """The finalists, `auto` resolved."""
        finalists = self.strategy.finalists
        if isinstance(finalists, Finalists):
            return finalists
        return Finalists() if finalists == "auto" and self.strategy.trials >= AUTO_TRIALS else None


def _uses_no_lambda(content: Mapping[str, Any]) -> bool:
    method = (content.get("fixed") or {}).get("method", "proposed")
    return "lam" not in HYPERPARAMETERS_OF.get(method, ("lam",))


def load_space(path: Path) -> Space:
    """Read and validate a space file.

    Raises:
        UserError: the file is invalid; the message names file and key.
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
    """Validate the content of a space file.

    Raises:
        UserError: the content is invalid; the message names `where` and the key.
    """
    try:
        return Space.model_validate(dict(content))
    except ValidationError as error:
        raise explain(error, where) from error


def find_space(machine: str, requested: Path | None) -> Path:
    """Find the space file of a machine type.

    The requested file; else `<machine>.yaml`, else `default.yaml`, of ./search_spaces first and
    then of the package.

    Raises:
        UserError: the requested file does not exist.
    """
    if requested is not None:
        for path in (requested, shipped_folder() / requested.name):
            if path.is_file():
                return path
        raise UserError(f"--space: there is no file {requested}")
    for name in (f"{machine}.yaml", "default.yaml"):
        for folder in (Path("search_spaces"), shipped_folder()):
            if (folder / name).is_file():
                return folder / name
    raise AssertionError("the package ships default.yaml")


def shipped_folder() -> Path:
    """Return the folder of the space files shipped with the package."""
    packed = Path(str(resources.files("raysearch"))) / "search_spaces"
    return packed if packed.is_dir() else packed.parent.parent / "search_spaces"
