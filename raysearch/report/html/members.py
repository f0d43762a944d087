"""Members of an ensemble: their configurations, scores and weights."""

import json
from collections.abc import Mapping
from typing import Any

from raysearch.report.html.parts import Absent, Part, Section, Table, draw
from raysearch.report.wording import format_value
from raysearch.study.results import Results

RULES = {
    "equal": "All weights are equal.",
    "validation": "The weights were chosen on the clips of the validation IDs, so the validation "
    "score is optimistic; the final test is not.",
}
"""Sentences on the rule of the weights."""


def members_section(results: Results) -> Section:
    """Return the section with the members of an ensemble."""
    text = (
        "The score of a clip is the weighted average of the members' scores, each standardised by "
        f"the scores of normal training clips. {RULES[results.space.weights]}"
    )
    return Section("members", "The members", text, [draw("Members", lambda: _table(results))])


def _table(results: Results) -> Part:
    path = results.folder / "detector" / "detector.json"
    if not path.is_file():
        return Absent("Members", "The detector of the ensemble is not built yet.")
    weights = {entry["name"]: entry["weight"] for entry in json.loads(path.read_text())["members"]}
    rows = [
        [name, *_configuration(part), f"{weights[name]:.3g}"]
        for name, part in results.space.members.items()
    ]
    return Table(
        "Members",
        ["", "method", "lr", "batch size", "λ", "inlier", "p", "weight"],
        rows,
        "Each member is the winner of a study.",
        numbers=frozenset({2, 3, 4, 6, 7}),
    )


def _configuration(part: Mapping[str, Any]) -> list[str]:
    search = part["search"]
    ((inlier, ps),) = search["inlier"].items()
    values = [search.get(name) for name in ("lr", "batch_size", "lambda")]
    p = ps[0] if ps else None
    return [part["fixed"]["method"], *map(format_value, values), inlier, format_value(p)]
