"""Machine types of a shared search: one configuration for all, tested on machine types unseen.

A space with `validation_machines` is that of a shared search. A trial trains an encoder for each of
them with the same configuration; `test_machines` stay closed until the configuration is frozen.
"""

import re
from collections.abc import Mapping, Sequence, Set
from typing import Annotated

from pydantic import AfterValidator, model_validator

from raysearch.config import OUTLIER_EXPOSURE, PARALLEL, Strict, Value
from raysearch.study.strategy import Strategy
from raysearch.training.combined import machine_key

SHARED = "shared"
"""Name that stands for the machine types of a shared search together."""

DEFAULT_IDS = ("0",)
"""Product IDs of a machine type from DCASE 2023 on."""

_NAME = re.compile(r"[^/.\s][^/\s]*")


def _names(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no machine type")
        if value.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return value


MachineTypes = Annotated[tuple[str, ...], AfterValidator(_names)]


class Machines(Strict):
    """Part of a space about the machine types of a shared search; empty for any other search.

    Attributes:
        validation_machines: machine types whose labelled test clips judge a trial.
        test_machines: machine types that only the final test opens.
    """

    validation_machines: MachineTypes = ()
    test_machines: MachineTypes = ()

    @model_validator(mode="before")
    @classmethod
    def _default_ids(cls, content: object) -> object:
        """Set the product IDs of a shared search that names none."""
        if not isinstance(content, Mapping) or not content.get("validation_machines"):
            return content
        return {"validation_ids": DEFAULT_IDS, "test_ids": DEFAULT_IDS, **content}

    @model_validator(mode="after")
    def _machines_fit(self) -> "Machines":
        if self.test_machines and not self.validation_machines:
            raise ValueError("test_machines: needs validation_machines, on which to search")
        if common := sorted(set(self.validation_machines) & set(self.test_machines)):
            raise ValueError(
                f"machine type {common[0]} is in validation_machines and in test_machines"
            )
        return self

    @property
    def is_shared(self) -> bool:
        """True for the space of a shared search."""
        return bool(self.validation_machines)

    @property
    def machine_types(self) -> dict[str, list[str]]:
        """Keys of a space file for these machine types; empty for any other search."""
        if not self.is_shared:
            return {}
        return {
            "validation_machines": list(self.validation_machines),
            "test_machines": list(self.test_machines),
        }


def machine_keys(machines: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the names of product IDs in the results of a shared search.

    Args:
        machines: machine types.
        ids: product IDs of each.
    """
    return tuple(machine_key(machine, identity) for machine in machines for identity in ids)


def check_shared(machines: Sequence[str], methods: Set[Value], strategy: Strategy) -> None:
    """Check that a shared search can be made of the other keys of its space.

    Args:
        machines: machine types of the search.
        methods: of the trials.
        strategy: of the search.

    Raises:
        ValueError: it cannot; the message begins with the key.
    """
    if PARALLEL in methods:
        raise ValueError(f"validation_machines: `method: {PARALLEL}` searches no configuration")
    if len(machines) == 1 and (needing := sorted(map(str, methods & OUTLIER_EXPOSURE))):
        raise ValueError(
            f"validation_machines: `method: {needing[0]}` trains on other machine types, and a "
            "shared search has its validation machines alone; name two or more"
        )
    if strategy.scheduler not in ("auto", "none"):
        raise ValueError(
            f"strategy.scheduler: {strategy.scheduler} cannot prune a shared search, whose trials "
            "train one machine type after the other; set none"
        )
    if strategy.warm_start != "none":
        raise ValueError("strategy.warm_start: the paper has no configuration of a shared search")
