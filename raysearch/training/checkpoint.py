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
from raysearch.storage import AnyPath
from raysearch.training.state import facts_of_head, head_length, unreadable


def save(path: AnyPath, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON facts to one file, atomically, see `storage.write_bytes`."""
    # channels_last weights are stored in their logical order, as safetensors wants.
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = write_tensors(contiguous, metadata={"facts": json.dumps(facts)})
    storage.write_bytes(path, content)


def load(path: AnyPath) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and facts that `save` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        return read_tensors(content), facts_of_head(content[: 8 + head_length(content)])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as tensors named `optimiser/<parameter>/<entry>`."""
    return {
        f"optimiser/{number}/{entry}": tensor
        for number, state in optimiser.state_dict()["state"].items()
        for entry, tensor in state.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state from `optimiser_tensors`, but keep the settings of the new optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, number, entry = name.split("/")
            state.setdefault(int(number), {})[entry] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    for parameter, entries in optimiser.state.items():
        for entry, tensor in entries.items():
            if tensor.shape == parameter.shape:
                # Files hold the logical order; a fused optimiser asks for that of the parameter.
                entries[entry] = torch.empty_like(parameter).copy_(tensor)
