"""Names of timm's models, read from its source.

Apart from backbone.py, which imports timm: that takes seconds.
"""

import re
from importlib.util import find_spec
from pathlib import Path


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
