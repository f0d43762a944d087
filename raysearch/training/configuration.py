"""Hyperparameters of a trial, its whole definition, and the signature of its encoder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from pydantic import Field

from raysearch.config import LATER, SCORING_ONLY, Options, Strict, Value, digest, parse_option


@dataclass(frozen=True)
class Configuration:
    """The hyperparameters of an encoder that a search samples.

    Attributes:
        lr: peak learning rate; None for a method that is not trained.
        batch_size: samples, half of them of the target machine type if others are trained on;
            None for a method that is not trained.
        lam: λ, the weight of the product loss; None for a method without it.
        options: values of searched options by name, in ascending order of names.

    Raises:
        ValueError: a value outside its range, or one that is not finite.
    """

    lr: float | None
    batch_size: int | None
    lam: float | None
    options: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        for name, value, in_range in (
            ("lr", self.lr, self.lr is None or self.lr > 0),
            ("batch_size", self.batch_size, self.batch_size is None or self.batch_size > 1),
            ("lambda", self.lam, self.lam is None or self.lam >= 0),
        ):
            if value is not None and not (in_range and math.isfinite(value)):
                raise ValueError(f"{name}: nothing can be trained with {value:g}")
        # One encoder has one signature, however its numbers were written.
        object.__setattr__(self, "lr", None if self.lr is None else float(self.lr))
        object.__setattr__(self, "lam", None if self.lam is None else float(self.lam))
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    def to_dict(self) -> dict[str, Value]:
        """Return the hyperparameters by their names in space files and tables."""
        return {name: value for name, value in self.columns.items() if value is not None}

    @property
    def columns(self) -> dict[str, Value | None]:
        """Hyperparameters as columns of a table: like `to_dict`, with None for what is missing."""
        values = {"lr": self.lr, "batch_size": self.batch_size, "lambda": self.lam}
        return {**values, **dict(self.options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from the output of `to_dict`, ignoring other keys."""
        options = {name: value for name, value in values.items() if name in Options.model_fields}
        return cls(
            values.get("lr"),
            values.get("batch_size"),
            values.get("lambda"),
            tuple(options.items()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the hyperparameters as files hold them."""
        options = {"options": dict(self.options)} if self.options else {}
        return {"lr": self.lr, "batch_size": self.batch_size, "lam": self.lam, **options}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`, ignoring other keys.

        Raises:
            KeyError: a key is missing.
            TypeError: a value is of another type.
            ValueError: a value is not allowed, or an option is unknown.
        """
        options = tuple(content.get("options", {}).items())
        for name, value in options:
            _check_option(name, value)
        return cls(content["lr"], content["batch_size"], content["lam"], options)


@lru_cache(maxsize=None, typed=True)
def _check_option(name: str, value: Value) -> None:
    """Refuse what is no option of this version; the same few values stand in every record."""
    if name not in Options.model_fields:
        raise ValueError(f"unknown option {name}")
    parse_option(name, value)


class TrialConfig(Strict):
    """Definition of one encoder: searched hyperparameters and all other settings.

    Attributes:
        machine: target machine type.
        data: fingerprint of the recordings that a search may see.
        configuration: the sampled hyperparameters.
        seed: of split, initial weights, crops and Mixup.
        options: of the trial, those of the configuration among them.
        files: hashes of the files that values of options name; a value without a hash, as in
            studies of earlier versions, stands for itself.
    """

    machine: str
    data: str
    configuration: Configuration
    seed: int = Field(ge=0)
    options: Options
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def lr(self) -> float:
        """Peak learning rate of a method with a training."""
        assert self.configuration.lr is not None
        return self.configuration.lr

    @property
    def batch_size(self) -> int:
        """Samples of a batch of a method with a training."""
        assert self.configuration.batch_size is not None
        return self.configuration.batch_size

    @property
    def lam(self) -> float:
        """Weight λ of a method that has it."""
        assert self.configuration.lam is not None
        return self.configuration.lam

    def signature(self) -> str:
        """Return the hash of the settings that define the encoder, the name of its folder.

        The hash of a flat dump: the signatures of trained encoders must not change with the
        classes. Files count by their content, wherever they are.
        """
        options = self.options.model_dump(exclude=set(SCORING_ONLY))
        for name in ("pretrained", "backbone"):
            options[name] = self.files.get(options[name], options[name])
        defaults = {name: Options.model_fields[name].default for name in LATER}
        sampled = {name: getattr(self.configuration, name) for name in ("lr", "batch_size", "lam")}
        flat = {
            "machine": self.machine,
            "data": self.data,
            **{name: value for name, value in sampled.items() if value is not None},
            "seed": self.seed,
            **{k: v for k, v in options.items() if k not in LATER or v != defaults[k]},
        }
        return digest(flat)
