"""Space files, search_spaces/*.yaml: the fixed options, the searched dimensions, the strategy."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from raysearch.config import OUTLIER_EXPOSURE, PARALLEL, Options, explain
from raysearch.data.dataset import parse_ids
from raysearch.study.machines import Machines, check_shared, machine_keys
from raysearch.study.members import Members, Weights, default_members, member_content
from raysearch.study.searched import Range, Search
from raysearch.study.strategy import AUTO_TRIALS, GRACE, REDUCTION, Finalists, Strategy
from raysearch.training.conditions import CONDITIONS, dependences, has_effect

CHECKED_TOGETHER = {"f_min", "f_max", "segment_seconds", "n_fft"}
"""Options whose values must fit to one another, see `Options`."""

NAME = re.compile(r"[^/.][^/]*")
"""Name of a member, which is a part of a folder's name."""


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


class Space(Machines):
    """The content of a space file.

    Attributes:
        validation_ids: their labelled test clips judge a trial; empty where no clip is labelled.
        members: with `method: parallel` the studies whose detectors are averaged, by name; each
            has the values by which its space differs from this space.
        weights: of the members.
        tracking: further tracker of trials.
    """

    validation_ids: tuple[str, ...] = ("0", "1", "2")
    test_ids: tuple[str, ...] = ("3", "4", "5")
    search: Search
    fixed: Options = Options()
    strategy: Strategy = Strategy()
    members: Members = Field(default_factory=dict, validate_default=True)
    weights: Weights = "equal"
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

    @field_validator("members", mode="after")
    @classmethod
    def _members(cls, value: Members, info: ValidationInfo) -> Members:
        """Set the default members of the method `parallel`; refuse members of another method."""
        fixed = info.data.get("fixed")
        if fixed is None:  # It is refused.
            return value
        if fixed.method != PARALLEL and value:
            raise ValueError(f"only `method: {PARALLEL}` has members")
        return value if fixed.method != PARALLEL or value else default_members()

    @model_validator(mode="after")
    def _members_fit(self) -> "Space":
        """Check the space of each member."""
        for name, part in self.members.items():
            if unknown := sorted(part.keys() - {"search", "fixed", "strategy"}):
                raise ValueError(f"members.{name}.{unknown[0]}: unknown key")
            if not NAME.fullmatch(name):
                raise ValueError(f"members.{name}: no name of a folder")
            if self.member(name).fixed.method == PARALLEL:
                raise ValueError(f"members.{name}.fixed.method: a member has another method")
        return self

    def member(self, name: str) -> "Space":
        """Return the space of a member.

        Raises:
            ValueError: it is not valid.
        """
        content = self.model_dump(mode="json", by_alias=True)
        try:
            return Space.model_validate(member_content(content, self.members[name]))
        except ValidationError as error:
            raise ValueError(
                str(explain(error, f"members.{name}")).replace(": ", ".", 1)
            ) from error

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> "Space":
        for name in self.search.options:
            value = getattr(self.fixed, name)
            if value != Options.model_fields[name].default:
                raise ValueError(
                    f"search.{name}: is fixed at {value}, too; leave it out of fixed or of search"
                )
        return self

    @model_validator(mode="after")
    def _require_effective(self) -> "Space":
        """Require the dimensions of the methods, and refuse those without an effect."""
        for name in ("lr", "batch_size", "lambda", *self.search.options):
            effective = any(has_effect(name, values) for values in self.option_values())
            if effective and self.search.get(name) is None and not self.members:
                raise ValueError(f"search.{name}: Field required")
            if not effective and self.search.varies(name):
                parent, allowed = CONDITIONS[name]
                needed = " or ".join(sorted(str(value) for value in allowed))
                raise ValueError(
                    f"search.{name}: has an effect only with {parent}: {needed}; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> "Space":
        for values in self.option_values():
            try:
                Options.model_validate(values)
            except ValidationError as error:
                raise ValueError(str(explain(error, "search")).replace(": ", ".", 1)) from error
        return self

    def option_values(self) -> Iterator[dict[str, Any]]:
        """Yield options of trials that have every value, a range at both of its ends.

        All combinations may be millions. Only options that others depend on, or are checked with,
        are combined; of the rest one changes at a time.
        """
        if self.members:
            for name in self.members:
                yield from self.member(name).option_values()
            return
        ends = {
            name: (searched.low, searched.high) if isinstance(searched, Range) else searched
            for name, searched in self.search.options.items()
        }
        depended = {option for name in CONDITIONS for option in dependences(name)}
        joint = [name for name in ends if name in depended | CHECKED_TOGETHER]
        rest = [name for name in ends if name not in joint]
        first = self.fixed.model_dump() | {name: values[0] for name, values in ends.items()}
        for combination in itertools.product(*(ends[name] for name in joint)):
            base = first | dict(zip(joint, combination, strict=True))
            yield base
            for name in rest:
                yield from (base | {name: value} for value in ends[name][1:])

    @property
    def source_options(self) -> Options:
        """Options that select the recordings; with a method that needs the most of them."""
        methods = {values["method"] for values in self.option_values()}
        needing = sorted(methods & OUTLIER_EXPOSURE)
        return self.fixed.replace({"method": needing[0]}) if needing else self.fixed

    def trial_options(self) -> list[Options]:
        """Return the options of trials, see `option_values`."""
        return [Options.model_validate(values) for values in self.option_values()]

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
        for key in ("lr", "batch_size", "lambda", *self.search.options):
            value = self.search.get(key)
            if self.strategy.sampler == "grid" and isinstance(value, Range):
                raise ValueError(f"sampler grid needs the values of search.{key} as a list")
        return self

    @model_validator(mode="after")
    def _sampler_fits_options(self) -> "Space":
        sampler = self.strategy.sampler
        if sampler not in ("cmaes", "qmc"):
            return self
        for name, searched in self.search.options.items():
            numbers = isinstance(searched, Range) or not any(
                isinstance(value, bool | str) for value in searched
            )
            if not numbers:
                raise ValueError(f"sampler {sampler} needs numbers, search.{name} has none")
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> "Space":
        common = set(self.validation_ids) & set(self.test_ids)
        if common and not self.is_shared:
            raise ValueError(f"ID {min(common)} is in validation_ids and in test_ids")
        return self

    @model_validator(mode="after")
    def _weights_have_labels(self) -> "Space":
        if self.weights == "validation" and not self.validation_ids:
            raise ValueError("weights: validation needs validation_ids; take weights: equal")
        return self

    @model_validator(mode="after")
    def _shared(self) -> "Space":
        if self.is_shared:
            methods = {values["method"] for values in self.option_values()} | {self.fixed.method}
            check_shared(self.validation_machines, methods, self.strategy)
        return self

    @property
    def validation_keys(self) -> tuple[str, ...]:
        """Names of the validation IDs in results: `machine/ID` in a shared search."""
        ids = self.validation_ids
        return machine_keys(self.validation_machines, ids) if self.is_shared else ids

    @property
    def test_keys(self) -> tuple[str, ...]:
        """Names of the test IDs in results: `machine/ID` in a shared search."""
        ids = self.test_ids
        return machine_keys(self.test_machines, ids) if self.is_shared else ids

    @property
    def scheduler(self) -> Literal["none", "asha", "hyperband", "median"]:
        """Pruning algorithm, `auto` resolved."""
        scheduler = self.strategy.scheduler
        if self.fixed.epochs == 0 or self.is_shared:
            return "none"
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


def check_space(content: Mapping[str, Any], where: str) -> Space:
    """Validate the content of a space file.

    Raises:
        UserError: the content is invalid; the message names `where` and the key.
    """
    try:
        return Space.model_validate(dict(content))
    except ValidationError as error:
        raise explain(error, where) from error
