"""Names of backbones: those of timm's models, read from its source, and those of a hub.

Apart from backbone.py, which imports timm: that takes seconds.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HUBS = ("hf-hub:", "hf_hub:", "local-dir:")
"""Prefixes of networks in the format of timm that are on a hub or in a folder."""


def is_on_hub(name: str) -> bool:
    """Return True if a name is that of a network on a hub or in a folder, not of timm's own."""
    return name.startswith(HUBS)


@contextmanager
def architecture_folder(name: str, architecture: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the name of a network whose architecture is known, even if its folder is elsewhere.

    Args:
        name: of the network.
        architecture: content of its config.json; None for a network of timm's own.
    """
    if architecture is None:
        yield name
        return
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(architecture))
        yield f"local-dir:{folder}"


def is_written(name: str) -> bool:
    """Return True if timm's source has a model of this name, with its tag if there is one.

    False for a model that timm defines in another way; `backbone.new_backbone` builds it all the
    same.

    Args:
        name: for example `efficientnet_b0` or `tf_efficientnet_b0.ns_jft_in1k`.
    """
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return False
    architecture, _, tag = name.partition(".")
    defined = re.compile(rf"^def {re.escape(architecture)}\(", re.MULTILINE)
    for path in sorted(Path(spec.origin).parent.glob("models/*.py")):
        text = path.read_text("utf-8")
        if f"def {architecture}(" in text and defined.search(text):
            return not tag or any(f"{quote}{name}{quote}" in text for quote in "'\"")
    return False
