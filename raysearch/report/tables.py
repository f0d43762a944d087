"""Tables of results: CSV for programs, Markdown and LaTeX for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml
from tabulate import tabulate
from upath import UPath

from raysearch.config import MACHINES
from raysearch.errors import UserError, printable
from raysearch.report.wording import again, format_score
from raysearch.scoring.metrics import harmonic_mean
from raysearch.storage import write_bytes, write_text
from raysearch.study.confidence import Confidence, read_confidence
from raysearch.study.folder import series, studies_in
from raysearch.study.ledger import read_ledger
from raysearch.study.manifest import read_manifest
from raysearch.study.reference import final_reference
from raysearch.study.results import final_note
from raysearch.study.scores import FINAL, read_final
from raysearch.study.space import Space, check_space
from raysearch.study.winner import Winner, read_frozen


def write_best(folder: UPath, winner: Winner, confidence: Confidence, space: Space) -> None:
    """Write `best_config.{csv,md,tex,yaml}`; the YAML is a space of this single configuration."""
    row = {"machine": winner.machine, **_table_one(winner, confidence)}
    _write_all(folder / "best_config", [row], format_cell=number)
    write_text(folder / "best_config.yaml", _space_yaml(winner, confidence, space))


def _space_yaml(winner: Winner, confidence: Confidence, space: Space) -> str:
    content = {
        **space.machine_types,
        "validation_ids": list(space.validation_ids),
        "test_ids": list(space.test_ids),
        **winner.space_content(space.fixed),
    }
    if space.members:
        fixed = space.fixed.model_dump(exclude_defaults=True)
        content |= {"fixed": fixed, "members": space.members, "weights": space.weights}
    score = format_score(winner, confidence)
    machine = printable(winner.machine)
    title = f"# Best configuration for {machine}: validation score {score}.\n"
    if winner.score is None:
        title = f"# The only configuration for {machine}: {score}.\n"
    note = f"# Note: {confidence.note}.\n" if confidence.note else ""
    return (
        title
        + note
        + f"# {again(winner.machine, space)}\n"
        + yaml.safe_dump(content, sort_keys=False)
    )


@dataclass(frozen=True)
class Overview:
    """Tables over all studies of a folder.

    Attributes:
        configs: a row per hyperparameter, a column per study (Table I's shape).
        results: a row per series of studies, a column per machine type and one over all (Table
            II's).
        studies: a row per study with its run, configuration and result, for programs.
    """

    configs: list[dict[str, Any]]
    results: list[dict[str, Any]]
    studies: list[dict[str, Any]]


def overview(out: UPath) -> Overview:
    """Gather the tables over all studies that have a winner.

    Raises:
        UserError: no study under `out` has a best configuration.
    """
    winners = {f: w for f in studies_in(out) if (w := read_frozen(f)) is not None}
    if not winners:
        raise UserError(f"{out} holds no finished study; `raysearch run` makes one")
    columns = _column_names(winners)
    ordered = sorted(winners, key=lambda f: machine_order(winners[f].machine, columns[f]))
    configs = {columns[f]: _table_one(winners[f], read_confidence(f)) for f in ordered}
    studies = [
        {
            "run": f.name,
            "machine": winners[f].machine,
            "method": _method(winners[f], f),
            **configs[columns[f]],
            **_final(winners[f], f),
        }
        for f in ordered
    ]
    return Overview(_transposed(configs), _table_two(studies), studies)


def export(out: UPath) -> list[UPath]:
    """Write `best_configs.*`, `results.*` and `studies.parquet` over all studies; see `Overview`.

    Returns:
        Paths of the files.

    Raises:
        UserError: no study under `out` has a best configuration.
    """
    tables = overview(out)
    written = _write_all(out / "best_configs", tables.configs, format_cell=number)
    written += _write_all(out / "results", tables.results, format_cell=percent, bold=_best_cells)
    write_bytes(out / "studies.parquet", pd.DataFrame(tables.studies).to_parquet(index=False))
    return [*written, out / "studies.parquet"]


def _column_names(winners: Mapping[UPath, Winner]) -> dict[UPath, str]:
    machines = [winner.machine for winner in winners.values()]
    return {
        folder: w.machine if machines.count(w.machine) == 1 else folder.name
        for folder, w in winners.items()
    }


def machine_order(machine: str, column: str) -> tuple[int, str]:
    """Return the sorting key of a machine type and its column: the paper's order, then names."""
    return (MACHINES.index(machine) if machine in MACHINES else len(MACHINES), column)


def _table_one(winner: Winner, confidence: Confidence) -> dict[str, Any]:
    return {
        **winner.configuration.columns,
        "inlier": winner.inlier.name,
        "p": winner.inlier.p,
        "val_score": winner.val_score,
        "seeds": winner.seeds,
        "mean_score": winner.score,
        "std_score": winner.std_score,
        "ci_low": confidence.low,
        "ci_high": confidence.high,
        "choices": confidence.choices,
        "unselected_score": confidence.unselected,
        "note": confidence.note,
    }


def _final(winner: Winner, folder: UPath) -> dict[str, Any]:
    final = read_final(folder / FINAL)
    ledger = read_ledger(folder, read_manifest(folder).started)
    note = final_note(final, ledger, winner) if final.ids else ""
    reference = {"reference_score": final_reference(folder)}
    return {"final_score": final.score, "final_note": note, **reference}


def _method(winner: Winner, folder: UPath) -> str:
    space = check_space(read_manifest(folder).space, str(folder / "study.json"))
    return winner.config(space.fixed).options.method


def _transposed(configs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for config in configs.values() for name in config)
    return [
        {"parameter": name, **{column: config.get(name) for column, config in configs.items()}}
        for name in names
    ]


def _table_two(studies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Build a row per method and series; the studies of a series differ in machine type only."""
    table: dict[str, dict[str, float | None]] = {}
    notes: dict[str, list[str]] = {}
    unnamed = {study["method"] for study in studies if not series(study["run"], study["machine"])}
    for study in studies:
        name = series(study["run"], study["machine"])
        # A series that is called as its method needs no second name, if it is the only one.
        is_plain = not name or (name == study["method"] and name not in unnamed)
        row = study["method"] if is_plain else f"{study['method']} ({name})"
        table.setdefault(row, {})[study["machine"]] = study["final_score"]
        if study["final_note"]:
            notes.setdefault(row, []).append(f"{study['machine']}: {study['final_note']}")
    machines = list(dict.fromkeys(study["machine"] for study in studies))
    tested = {m for scores in table.values() for m, score in scores.items() if score is not None}
    rows = []
    for name, scores in table.items():
        values = [score for score in scores.values() if score is not None]
        # Means over different machine types do not compare.
        mean = harmonic_mean(values) if values and len(values) == len(tested) else None
        row = {"method": name, **{m: scores.get(m) for m in machines}, "All": mean}
        # A column that is empty everywhere tells nothing.
        rows.append({**row, NOTE: "; ".join(notes.get(name, []))} if notes else row)
    return rows


NOTE = "note"
"""Column of the limits of the final scores of a row."""


def _best_cells(rows: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Mark the best cells of each column as displayed; none in a column of a single value.

    The first column names the row; all other cells are a percentage, a dash or a note.
    """
    table = [[_percentage(cell) for cell in row[1:]] for row in rows]
    columns = [[cell for cell in column if cell == cell] for column in zip(*table, strict=True)]
    return [
        [False] + [len(c) > 1 and cell == max(c) for cell, c in zip(row, columns, strict=True)]
        for row in table
    ]


def _percentage(cell: str) -> float:
    """Return the number of a cell; nan for a dash or a note."""
    with suppress(ValueError):
        return float(cell)
    return math.nan


Bold = Callable[[Sequence[Sequence[str]]], list[list[bool]]]
"""Maker of the marks of bold cells from the cells of a table."""


def _write_all(
    stem: UPath,
    rows: Sequence[Mapping[str, Any]],
    *,
    format_cell: Callable[[Any], str],
    bold: Bold | None = None,
) -> list[UPath]:
    path = stem.with_suffix(".csv")
    write_text(path, pd.DataFrame(rows, dtype=object).to_csv(index=False))
    cells = [[format_cell(value) for value in row.values()] for row in rows]
    return [path, *write_people(stem, list(rows[0]), cells, bold(cells) if bold else None)]


def write_people(
    stem: UPath,
    header: list[str],
    cells: list[list[str]],
    bold: list[list[bool]] | None = None,
    notes: Sequence[str] = (),
) -> list[UPath]:
    """Write a table as Markdown and as LaTeX.

    Args:
        stem: path of the files without suffix.
        header: of the columns.
        cells: texts of the rows.
        bold: marks of bold cells.
        notes: sentences below the table.

    Returns:
        Paths of the files.
    """
    header, cells = [*map(printable, header)], [[*map(printable, row)] for row in cells]
    notes = [*map(printable, notes)]
    marks = bold or [[False] * len(row) for row in cells]
    markdown = _markdown(cells, header, marks) + "".join(f"\n{note}\n" for note in notes)
    latex = _latex(cells, header, marks) + "".join(f"% {note}\n" for note in notes)
    write_text(stem.with_suffix(".md"), markdown)
    write_text(stem.with_suffix(".tex"), latex)
    return [stem.with_suffix(".md"), stem.with_suffix(".tex")]


def _markdown(cells: list[list[str]], headers: list[str], bold: list[list[bool]]) -> str:
    marked = [
        [f"**{cell}**" if mark else cell for cell, mark in zip(row, marks, strict=True)]
        for row, marks in zip(cells, bold, strict=True)
    ]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in [headers, *marked]]
    return tabulate(escaped, "firstrow", tablefmt="github", disable_numparse=True) + "\n"


def _latex(cells: list[list[str]], headers: list[str], bold: list[list[bool]]) -> str:
    """Format a LaTeX table that needs the package booktabs."""
    style = pd.DataFrame(cells, columns=headers).style.hide(axis="index")
    style = style.format(escape="latex").format_index(escape="latex", axis="columns")
    marks = pd.DataFrame(bold, columns=headers).map(lambda b: "textbf:--rwrap;" if b else "")
    text: str = style.apply(lambda _: marks, axis=None).to_latex(hrules=True)
    # In most fonts of LaTeX the character is a dash.
    return text.replace("|", r"\textbar{}")


def number(value: Any) -> str:
    """Format a value of a table for people."""
    if value in (None, "") or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(value: Any) -> str:
    """Format a share in percent as in the paper's Table II."""
    return f"{100 * value:.2f}" if isinstance(value, float) else number(value)
