"""Progress of the training in a folder, read from its checkpoints without their tensors.

The driver of a search and `raysearch status` read it without loading torch.
"""

import json
from typing import Any

from raysearch import storage
from raysearch.errors import UserError, one_line
from raysearch.storage import AnyPath
from raysearch.training.outcome import Epoch

_LONGEST_HEAD = 100_000_000
"""Maximal bytes of a header in safetensors."""

_USUAL_HEAD = 1 << 20
"""Bytes that suffice for the header of all tested encoders, with the history of 300 epochs."""


def is_trained(folder: AnyPath) -> bool:
    """Return True if a training in this folder is finished."""
    # `last` is written before `best` and removed at the end, so the two tell all states apart.
    return (folder / "best.safetensors").exists() and not (folder / "last.safetensors").exists()


def damaged_checkpoint(folder: AnyPath) -> str:
    """Return the path of a truncated or garbled checkpoint in a folder; empty if there is none.

    Only the header and the size are checked.

    Raises:
        OSError: the storage does not answer, which says nothing about the checkpoint.
    """
    for path in (folder / "last.safetensors", folder / "best.safetensors"):
        try:
            if path.exists() and path.stat().st_size != _announced_size(path):
                return str(path)
        except FileNotFoundError:  # Another process has just finished the training.
            continue
        except (KeyError, TypeError, ValueError):
            return str(path)
    return ""


def _announced_size(path: AnyPath) -> int:
    """Return the size in bytes that a checkpoint has by its header.

    Raises:
        KeyError, TypeError, ValueError: no header of a checkpoint.
    """
    start = storage.read_part(path, 0, _USUAL_HEAD)
    end = 8 + head_length(start)
    if end > _USUAL_HEAD:
        start = storage.read_part(path, 0, end)
    facts_of_head(start[:end])
    entries = json.loads(start[8:end])
    return end + max((e["data_offsets"][1] for k, e in entries.items() if k[0] != "_"), default=0)


def drop_checkpoints(folder: AnyPath) -> None:
    """Delete the checkpoints of a training, so that it starts anew."""
    # `best` first: alone it would be taken for the end of a training.
    for name in ("best.safetensors", "last.safetensors"):
        (folder / name).unlink(missing_ok=True)


def read_progress(folder: AnyPath) -> tuple[tuple[Epoch, ...], tuple[int, ...]]:
    """Read the epochs and resumes of an unfinished training; both empty without a checkpoint."""
    try:
        facts = read_facts(folder / "last.safetensors")
        return tuple(Epoch(**epoch) for epoch in facts["history"]), tuple(facts["resumes"])
    except (UserError, KeyError, TypeError, ValueError):
        return (), ()


def read_epochs(folder: AnyPath) -> tuple[Epoch, ...]:
    """Read the epochs of a training, unfinished or finished; empty without a checkpoint."""
    if unfinished := read_progress(folder)[0]:
        return unfinished
    try:
        facts = read_facts(folder / "best.safetensors")
    except UserError:
        return ()
    return tuple(Epoch(**epoch) for epoch in facts["history"])


def read_facts(path: AnyPath) -> dict[str, Any]:
    """Read the facts of a checkpoint alone, however large its tensors are.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        # One read if possible: the file may be replaced before a second read.
        start = storage.read_part(path, 0, _USUAL_HEAD)
        end = 8 + head_length(start)
        return facts_of_head(
            (start if end <= _USUAL_HEAD else storage.read_part(path, 0, end))[:end]
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error


def head_length(content: bytes) -> int:
    """Return the length in bytes of a checkpoint's header, from the first eight bytes.

    Raises:
        ValueError: no length of a header.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= _LONGEST_HEAD:
        raise ValueError("no header")
    return length


def facts_of_head(content: bytes) -> dict[str, Any]:
    """Return the facts of a checkpoint from its first bytes, up to the end of the header.

    Raises:
        KeyError: no facts.
        TypeError: facts that are no JSON object.
        ValueError: a header that is no JSON.
    """
    facts = json.loads(json.loads(content[8:])["__metadata__"]["facts"])
    if not isinstance(facts, dict):
        raise TypeError("its facts are no JSON object")
    return facts


def unreadable(path: AnyPath, error: Exception) -> UserError:
    """Make the error of a checkpoint that cannot be read."""
    reason = one_line(error)
    return UserError(f"{path} is not a readable checkpoint: {reason}")
