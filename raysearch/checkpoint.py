"""Atomic checkpoints: tensors and JSON in one safetensors file, never a pickle."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from raysearch import storage
from raysearch.errors import UserError
from raysearch.storage import Place

_LONGEST_HEAD = 100_000_000
"""Bytes of a header that safetensors allows."""

_USUAL_HEAD = 1 << 20
"""Bytes that hold the header of any encoder that we know, with the history of 300 epochs."""


def save(path: Place, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and JSON facts to one file, which appears whole or not at all."""
    # channels_last weights are stored in their logical order, as safetensors wants.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    storage.write_bytes(path, write_tensors(plain, metadata={"facts": json.dumps(facts)}))


def load(path: Place) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        return read_tensors(content), _facts(content[8 : 8 + _length(content)])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def facts(path: Place) -> dict[str, Any]:
    """Reads the facts alone, however large the tensors are.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        # One read if it can be: the file may be replaced before a second one.
        start = storage.read_part(path, 0, _USUAL_HEAD)
        end = 8 + _length(start)
        return _facts((start if end <= _USUAL_HEAD else storage.read_part(path, 0, end))[8:end])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _length(content: bytes) -> int:
    """Length in bytes of the header, which the first eight bytes tell."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= _LONGEST_HEAD:
        raise ValueError("no header")
    return length


def _facts(head: bytes) -> dict[str, Any]:
    found = json.loads(json.loads(head)["__metadata__"]["facts"])
    if not isinstance(found, dict):
        raise TypeError("its facts are no JSON object")
    return found


def _unreadable(path: Place, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path} is not a readable checkpoint: {reason}")


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns an optimiser's state as tensors named `optimiser/<parameter>/<entry>`."""
    return {
        f"optimiser/{number}/{entry}": tensor
        for number, state in optimiser.state_dict()["state"].items()
        for entry, tensor in state.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimiser_tensors` took; settings stay those of the new optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, number, entry = name.split("/")
            state.setdefault(int(number), {})[entry] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
