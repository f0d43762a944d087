"""The hyperparameters that have an effect with each method."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from raysearch.config import OUTLIER_EXPOSURE, PARALLEL, UNTRAINED, Method, Value

TRAINED: frozenset[Value] = frozenset(get_args(Method)) - UNTRAINED - {PARALLEL}
"""Methods with a training."""

WITH_BACKBONE: frozenset[Value] = TRAINED - {"autoencoder", "flow"}
"""Trained methods with a backbone and a neck."""

PER_PRODUCT: frozenset[Value] = frozenset({"ddcsad"})
"""Methods with a network for each product ID."""

CONDITIONS: Mapping[str, tuple[str, frozenset[Value]]] = {
    "lr": ("method", TRAINED),
    "batch_size": ("method", TRAINED),
    "weight_decay": ("method", TRAINED),
    "precision": ("method", TRAINED),
    "compile": ("method", TRAINED),
    "validation_segments": ("method", TRAINED),
    "embedding": ("method", WITH_BACKBONE),
    "neck": ("method", WITH_BACKBONE),
    "dropout": ("method", WITH_BACKBONE),
    "backbone": ("method", WITH_BACKBONE | {"frozen"}),
    "pretrained": ("method", WITH_BACKBONE | {"frozen"}),
    "lambda": ("machine_loss", frozenset({True})),
    "machine_loss": ("method", OUTLIER_EXPOSURE),
    "product_mask": ("method", OUTLIER_EXPOSURE),
    "amplitude": ("method", OUTLIER_EXPOSURE | {"ddcsad"}),
    "mixup": ("method", OUTLIER_EXPOSURE),
    "mixup_alpha": ("mixup", frozenset({"constant", "rise", "decay"})),
    "divide_norm": ("machine_loss", frozenset({True})),
    "machine_head": ("machine_loss", frozenset({True})),
    "ddcsad_metric": ("method", frozenset({"ddcsad"})),
    "ddcsad_metric_weight": ("method", frozenset({"ddcsad"})),
    "ddcsad_score_weight": ("method", frozenset({"ddcsad"})),
    "aam_margin": ("method", frozenset({"serial_aam"})),
    "aam_scale": ("method", frozenset({"serial_aam"})),
}
"""Dimension -> the option that it depends on, and the values with which it has an effect."""


def dependences(name: str) -> list[str]:
    """List the options that the effect of a dimension depends on, the nearest first."""
    options: list[str] = []
    while name in CONDITIONS:
        name, _ = CONDITIONS[name]
        options.append(name)
    return options


def has_effect(name: str, values: Mapping[str, Any]) -> bool:
    """Return True if a dimension has an effect beside the values of all options."""
    names = [name, *dependences(name)]
    return all(values[option] in CONDITIONS[dependent][1] for dependent, option in pairwise(names))
