"""Files of a run, read back: a damaged one ends in a line with the file and the way out."""

import csv
import io
import json
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from raysearch.errors import DamageError, UserError, first_line, one_line
from raysearch.storage import AnyPath

T = TypeVar("T")

MADE_AGAIN = "move it away, and the same `raysearch run` command writes it again"
"""Way out of a damaged file that follows from others."""

FROM_BACKUP = "put a copy from a backup in its place"
"""Way out of a damaged file that nothing else holds."""

DAMAGE = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    csv.Error,
)
"""Errors of parsing a damaged file; bytes that are no UTF-8 and text that is no JSON among them."""


@contextmanager
def explain_damage(path: object, remedy: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read and parsed into one line.

    Args:
        path: of the file, for the message.
        remedy: way out, for the message.

    Raises:
        DamageError: the file is damaged, or was written by another version.
        UserError: the file cannot be read.
        FileNotFoundError: there is no file.
        NotADirectoryError: likewise.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, DamageError):
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from error
    except DAMAGE as error:
        raise damaged(path, error, remedy) from error


def damaged(path: object, error: Exception, remedy: str) -> DamageError:
    """Make the error of a file whose content is not what this version writes."""
    return DamageError(f"{path}: damaged, or of another version ({_reason(error)}); {remedy}")


def read_json(path: AnyPath, parse: Callable[[Any], T], remedy: str) -> T:
    """Read a JSON file of a run.

    Args:
        path: of the file.
        parse: makes a value of its content.
        remedy: way out of a damaged file.

    Raises:
        DamageError: the file is damaged, or was written by another version.
        UserError: the file cannot be read.
        FileNotFoundError: there is no file.
    """
    with explain_damage(path, remedy):
        return parse(json.loads(path.read_text("utf-8")))


def read_table(path: AnyPath, *columns: str) -> list[dict[str, str]]:
    """Read a CSV file of a run: a row has a value for each column, and the last row is whole.

    Args:
        path: of the file.
        columns: that the table must have.

    Raises:
        ValueError: the table is damaged.
        FileNotFoundError: there is no file.
    """
    text = path.read_text("utf-8")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} has not a value for each column")
        rows.append(row)
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"no column {missing[0]}")
    if not text.endswith("\n"):
        raise ValueError("the last line is cut short")
    return rows


def checked(value: T) -> T:
    """Return a dataclass that was made of JSON content, if its fields have their types.

    Fields that are dataclasses themselves are not looked into.

    Raises:
        ValueError: a field is of another type.
    """
    names, adapter = _checker(cast(Hashable, type(value)))
    adapter.validate_python({name: getattr(value, name) for name in names})
    return value


@cache
def _checker(kind: Any) -> tuple[tuple[str, ...], TypeAdapter[Any]]:
    return tuple(field.name for field in fields(kind)), TypeAdapter(kind)


def _reason(error: Exception) -> str:
    """Return what is wrong with a file, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "its content"
        return f"{key} is missing" if first["type"] == "missing" else f"{key}: {first['msg']}"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return first_line(error)
