"""YAML that means what it seems to: no key twice, product IDs as they are written."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from raysearch.errors import UserError, first_line

ID_KEYS = ("validation_ids", "test_ids")
"""Keys of a space file whose values are product IDs."""

LONGEST = 1_000_000
"""Characters of the longest file that is read."""

MOST_VALUES = 100_000
"""Values of a file whose aliases are written out."""

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
        UserError: a key stands twice, YAML takes a product ID for something else, the text is too
            long or nested too deeply, or a value is none of YAML.
        YAMLError: the text is no YAML.
    """
    with _explain_limits(text, where):
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _check_keys(root, where)
            _check_size(root, where)
            if isinstance(root, yaml.MappingNode):
                _check_ids(root, where)
            return loader.construct_document(root)
        finally:
            loader.dispose()


@contextmanager
def _explain_limits(text: str, where: str) -> Iterator[None]:
    """Turn what YAML cannot hold into one line.

    Raises:
        UserError: the text is too long, nested too deeply, or holds a value that is none.
    """
    if len(text) > LONGEST:
        raise UserError(f"{where}: is longer than {LONGEST} characters: no space file")
    try:
        yield
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply") from error
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Of values such as a number of 5,000 digits, or the 99th of a month.
        raise UserError(f"{where}: holds a value that is none: {first_line(error)}") from error


def _check_size(root: yaml.Node, where: str) -> None:
    """Refuse aliases of aliases, of which a few lines stand for more values than memory holds."""
    if _size(root, {}) > MOST_VALUES:
        raise UserError(f"{where}: its aliases stand for more than {MOST_VALUES} values")


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count the values that a node stands for; an anchor that holds itself counts once."""
    if id(node) not in sizes:
        sizes[id(node)] = 1
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        flat = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
        sizes[id(node)] += sum(_size(each, sizes) for each in flat)
    return sizes[id(node)]


def check_keys(text: str, where: str) -> None:
    """Refuse YAML in which a key stands twice: the first of both values would be lost.

    Args:
        text: content of the file.
        where: name of the file, for errors.

    Raises:
        UserError: a key stands twice, or the text is too long or nested too deeply.
        YAMLError: the text is no YAML.
    """
    with _explain_limits(text, where):
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None:
            _check_keys(root, where)
            _check_size(root, where)


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
