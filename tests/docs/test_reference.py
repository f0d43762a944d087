"""The reference pages against the code: keys and defaults, columns, messages."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from raysearch.config import Options
from raysearch.report.tables import _table_one
from raysearch.report.trials_file import columns
from raysearch.scoring.spec import INLIERS, InlierSpec
from raysearch.study.confidence import Confidence
from raysearch.study.records import Proposal, Record
from raysearch.study.searched import Range, Search
from raysearch.study.space import Space
from raysearch.study.strategy import Finalists, Strategy
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import Epoch, InlierResult
from tests.docs.pages import REPOSITORY, prose, rows, section, spans

DOCS = REPOSITORY / "docs"

MODELS: dict[type[BaseModel], str] = {
    Space: "## Top level",
    Search: "## `search`",
    Range: "## `search`",
    Options: "## `fixed`",
    Strategy: "## `strategy`",
    Finalists: "## `strategy`",
}
NESTED = {(Space, "search"), (Space, "fixed"), (Space, "strategy"), (Search, "options")}


def literals(annotation: Any) -> Iterator[str]:
    """Yield every word that an annotation allows."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from literals(part)


def keys(heading: str) -> dict[str, dict[str, str]]:
    """Return the rows of the tables of keys under a heading, by key."""
    table = rows(section(DOCS / "space.md", heading))
    return {row["key"].strip("`"): row for row in table if "key" in row}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_of_a_space_is_documented_with_values_and_default(
    model: type[BaseModel],
) -> None:
    documented = keys(MODELS[model])
    for name, field in model.model_fields.items():
        key = field.alias or name
        if (model, key) in NESTED:
            continue
        row = documented[key]
        # What is searched is required by the methods that have it.
        if field.is_required() or model is Search:
            assert row["default"] == "required", key
        else:
            default = field.get_default(call_default_factory=True)
            assert default is not PydanticUndefined
            value = yaml.safe_load(row["default"].strip("`"))
            if isinstance(default, tuple):
                value = tuple(map(str, value))
            assert value == default, key
        if key != "aggregator":
            assert set(literals(field.annotation)) <= set(spans(row["values"])), key
        else:
            assert {"mean", "above_median", "max"} <= set(spans(row["values"]))


def test_every_documented_key_exists() -> None:
    for heading in set(MODELS.values()):
        models = [model for model, where in MODELS.items() if where == heading]
        names = {
            field.alias or name
            for model in models
            for name, field in model.model_fields.items()
            if (model, name) != (Search, "options")
        }
        assert set(keys(heading)) == names


def test_every_inlier_model_is_documented() -> None:
    models = rows(section(DOCS / "space.md", "### Inlier models"))
    assert [row["model"].strip("`") for row in models] == list(INLIERS)


def test_every_column_of_trials_is_documented_in_order() -> None:
    documented = [
        name
        for row in rows(section(DOCS / "outputs.md", "## Trials"))
        for name in spans(row["column"])
    ]
    expected = [name.replace("_0", "_<ID>") for name in columns(["0"])]
    assert documented == expected


def test_every_column_of_the_best_configuration_is_documented() -> None:
    winner = Winner("fan", 0, "e", Configuration(1e-3, 32, 1.0), InlierSpec("gmm", 2), 0.7, 0, "d")
    documented = [
        name
        for row in rows(section(DOCS / "outputs.md", "## Best configuration"))
        for name in spans(row["column"])
    ]
    assert documented == ["machine", *_table_one(winner, Confidence())]


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("## Frozen configuration", [Winner]),
        ("## Confidence", [Confidence]),
        ("## Records and proposals", [Proposal, Record, Epoch]),
    ],
)
def test_every_key_of_a_json_file_is_documented(heading: str, kinds: list[Any]) -> None:
    documented = {
        name
        for row in rows(section(DOCS / "outputs.md", heading))
        for name in spans(next(iter(row.values())))
    }
    assert documented - {f"encoders/{name}" for name in documented} == {
        key for kind in kinds for key in _keys(kind)
    }


def _keys(kind: Any) -> set[str]:
    """Return the keys that an object of a class has in its file."""
    names = {field.name for field in fields(kind)}
    flat = {field.name for field in fields(Configuration)} | {"inlier", "p"}
    return (names - {"configuration"}) | flat if "configuration" in names else names


def test_every_key_of_a_row_of_a_record_is_documented() -> None:
    documented = spans(section(DOCS / "outputs.md", "## Records and proposals"))
    assert {field.name for field in fields(InlierResult)} <= set(documented)


@cache
def sources() -> list[str]:
    """List every text of the source, with … for each inserted value."""
    return [
        text
        for path in sorted((REPOSITORY / "raysearch").rglob("*.py"))
        for text in _texts(ast.parse(path.read_text("utf-8")))
    ]


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )


def is_in_source(message: str) -> bool:
    """Return True if a text of the source has the parts of a message in their order."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip(" ;:.,()")]
    pattern = re.compile(".*?".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in sources())


MESSAGES = [
    message
    for line in re.findall(
        r"^- (.+?)(?: —|\Z|\n(?=[-\n]))",
        prose(DOCS / "troubleshooting.md"),
        re.MULTILINE | re.DOTALL,
    )
    for message in spans(line)
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_documented_message_is_in_the_source(message: str) -> None:
    assert is_in_source(message)


def test_a_message_that_is_not_in_the_source_is_seen() -> None:
    assert len(MESSAGES) > 80
    assert not is_in_source("no data: … is not a folder; ask your neighbour")
