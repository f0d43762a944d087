"""Checks of a detector's files, before anything of their size is read or built.

Detectors come from strangers and over bad disks: a NaN would call every clip healthy, and a link to
a device would be read for ever.
"""

import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from raysearch.data.waveform import Waveform
from raysearch.detector import Detector
from raysearch.errors import UserError
from raysearch.storage import AnyPath

LARGEST_FACTS = 1 << 26
"""Largest JSON file of a detector in bytes."""

LARGEST_WEIGHTS = 1 << 32
"""Largest file of weights or arrays in bytes."""


def check_file(path: AnyPath, largest: int) -> None:
    """Refuse a link to a device, a pipe, or a file that is too large; a missing file passes.

    Raises:
        UserError: the file must not be read.
    """
    if isinstance(path, Path):
        try:
            status = os.stat(path)
        except OSError:
            return
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is no plain file")
        size = status.st_size
    else:
        size = path.stat().st_size if path.exists() else 0
    if size > largest:
        raise UserError(f"{path} has {size} bytes, more than any detector")


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse numbers of a detector.json with which no recording can be scored.

    Raises:
        ValueError: a number is not finite, or out of its range.
    """
    _check_number("mean", facts["mean"])
    _check_number("std", facts["std"], positive=True)
    for identity in facts["ids"]:
        _check_number(f"thresholds.{identity}", facts["thresholds"][identity])
    _check_normal(facts.get("normal", {}), may_be_zero=True)
    if (rate := facts.get("recorded_rate")) is not None:
        _check_number("recorded_rate", rate, positive=True)
    if "members" not in facts:
        if facts["products"] != len(facts["ids"]):
            raise ValueError(f"products: {facts['products']} for {len(facts['ids'])} IDs")
        return
    if not facts["members"]:
        raise ValueError("members: there are none")
    for number, member in enumerate(facts["members"]):
        _check_number(f"members.{number}.weight", member["weight"])
        _check_normal({i: member["normal"][i] for i in facts["ids"]}, may_be_zero=False)


def _check_normal(normal: Mapping[str, Any], *, may_be_zero: bool) -> None:
    for identity, (mean, std) in normal.items():
        _check_number(f"normal.{identity}", mean)
        _check_number(f"normal.{identity}", std, positive=not may_be_zero)


def _check_number(name: str, value: object, *, positive: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{name}: {value} is no finite number")
    if positive and not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name}: {value} is not above 0")


def check_tensors(path: AnyPath, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse tensors that hold NaN or infinity.

    Raises:
        ValueError: a tensor does.
    """
    for name, tensor in tensors:
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds NaN or infinity")


def check_scores(detector: Detector) -> None:
    """Score a short noise by the model of each ID, so that arrays of wrong shapes show at once.

    Raises:
        ValueError: a model does not fit the embeddings, or its score is no number.
    """
    rng = np.random.default_rng(0)
    wave = np.rint(rng.normal(detector.mean, detector.std, detector.options.segment))
    samples = np.clip(wave, -32768, 32767).astype(np.int16)
    scores = detector.score_ids(Waveform.of(samples), detector.ids)
    for identity, score in scores.items():
        if math.isnan(score):
            raise ValueError(f"its model of ID {identity} gives no score")
