"""Files that a test puts where its subject expects them, on disk or on an object store."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from raysearch import storage
from raysearch.storage import AnyPath
from raysearch.training import checkpoint


def put(path: AnyPath, text: str) -> None:
    """Write a text file and make its folder."""
    storage.make_folder(path.parent)
    storage.write_text(path, text)


def put_checkpoint(
    path: AnyPath,
    tensors: Mapping[str, Tensor] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, by default an empty one, and make its folder."""
    storage.make_folder(path.parent)
    checkpoint.save(path, tensors or {}, facts or {})
