"""How far the training in a folder has come, read from its checkpoints without their tensors.

Whoever asks, be it the driver of a search or `raysearch status`, need not load torch.
"""

import json
from typing import Any

from raysearch import storage
from raysearch.errors import UserError, one_line
from raysearch.storage import AnyPath
from raysearch.training.outcome import Epoch

_LONGEST_HEAD = 100_000_000
"""Bytes of a header that safetensors allows."""

_USUAL_HEAD = 1 << 20
"""Bytes that hold the header of any encoder that we know, with the history of 300 epochs."""


def is_trained(folder: AnyPath) -> bool:
    """Tell whether a training in this folder came to its end."""
    # `last` is written before `best` and removed at the end, so the two tell every state apart.
    return (folder / "best.safetensors").exists() and not (folder / "last.safetensors").exists()


def unfinished(folder: AnyPath) -> tuple[tuple[Epoch, ...], tuple[int, ...]]:
    """Read the epochs that the checkpoint of an unfinished training knows of, and its resumes."""
    try:
        known = read_facts(folder / "last.safetensors")
    except UserError:
        return (), ()
    return tuple(Epoch(**epoch) for epoch in known["history"]), tuple(known["resumes"])


def read_facts(path: AnyPath) -> dict[str, Any]:
    """Read the facts of a checkpoint alone, however large its tensors are.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        # One read if it can be: the file may be replaced before a second one.
        start = storage.read_part(path, 0, _USUAL_HEAD)
        end = 8 + head_length(start)
        return facts_of_head(
            (start if end <= _USUAL_HEAD else storage.read_part(path, 0, end))[:end]
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error


def head_length(content: bytes) -> int:
    """Return the length in bytes of a checkpoint's header, which the first eight bytes tell.

    Raises:
        ValueError: they tell of none.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= _LONGEST_HEAD:
        raise ValueError("no header")
    return length


def facts_of_head(content: bytes) -> dict[str, Any]:
    """Return the facts of a checkpoint from its first bytes, up to the end of the header.

    Raises:
        KeyError: there are none.
        TypeError: they are no JSON object.
        ValueError: the header is no JSON.
    """
    found = json.loads(json.loads(content[8:])["__metadata__"]["facts"])
    if not isinstance(found, dict):
        raise TypeError("its facts are no JSON object")
    return found


def unreadable(path: AnyPath, error: Exception) -> UserError:
    """Make the error of a checkpoint that cannot be read."""
    reason = one_line(error)
    return UserError(f"{path} is not a readable checkpoint: {reason}")
