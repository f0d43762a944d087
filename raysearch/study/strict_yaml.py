"""YAML that means what it seems to: no key twice, product IDs as they are written."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from raysearch.errors import UserError

ID_KEYS = ("validation_ids", "test_ids")
"""Keys of a space file whose values are product IDs."""

_TAG = "tag:yaml.org,2002:"
_KINDS = {"bool": "true or false", "null": "nothing", "timestamp": "a date", "float": "a number"}
_INT_TAG = f"{_TAG}int"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)$")


class _Loader(yaml.SafeLoader):
    """Loader that takes 010 and 1:30 as text; by the rules of YAML they are 8 and 90."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML declares it)
        first: [(tag, _INT if tag == _INT_TAG else pattern) for tag, pattern in resolvers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str, where: str) -> Any:
    """Read the YAML of a space file.

    Args:
        text: content of the file.
        where: name of the file, for errors.

    Raises:
        UserError: a key stands twice, or YAML takes a product ID for something else.
        YAMLError: the text is no YAML.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root, where)
        if isinstance(root, yaml.MappingNode):
            _check_ids(root, where)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def check_keys(text: str, where: str) -> None:
    """Refuse YAML in which a key stands twice: the first of both values would be lost.

    Args:
        text: content of the file.
        where: name of the file, for errors.

    Raises:
        UserError: a key stands twice.
        YAMLError: the text is no YAML.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if root is not None:
        _check_keys(root, where)


def _check_keys(root: yaml.Node, where: str) -> None:
    for mapping in _mappings(root, set()):
        lines: dict[str, int] = {}
        for key, _ in mapping.value:
            # Several merges of anchors, <<, are allowed.
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise UserError(
                    f"{where}:{line}: {key.value}: the key stands in line {lines[key.value]} "
                    "already; keep one of both"
                )
            lines[key.value] = line


def _mappings(node: yaml.Node, seen: set[int]) -> Iterator[yaml.MappingNode]:
    """Yield the mappings of a document, each once: an anchor may hold itself."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value, seen)


def _check_ids(root: yaml.MappingNode, where: str) -> None:
    """Refuse product IDs that are no text to YAML: `no` is false, and 1.50 would be 1.5."""
    for key, value in root.value:
        if key.value not in ID_KEYS or not isinstance(value, yaml.SequenceNode):
            continue
        for item in value.value:
            kind = _KINDS.get(item.tag.removeprefix(_TAG))
            if isinstance(item, yaml.ScalarNode) and kind is not None:
                raise UserError(
                    f"{where}: {key.value}: YAML takes the ID {item.value or 'that is empty'} "
                    f'for {kind}; quote it: "{item.value}"'
                )
