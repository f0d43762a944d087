"""Tables I, II and III of the paper, ours beside the paper's, as csv, md and tex."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from upath import UPath

from raysearch.report.tables import number, write_people
from raysearch.scoring.intervals import (
    Mean,
    harmonic_spread,
    logit_interval,
    mean_spread,
    no_interval,
)
from raysearch.scoring.metrics import ClipScores, harmonic_mean
from raysearch.storage import write_text
from raysearch.study.paper import TABLE_ONE, PaperRow
from raysearch.study.results import Results, read_results
from raysearch.study.scores import clip_scores_by_id
from raysearch.study.systems import SYSTEMS, System, system_folder
from raysearch.study.winner import Winner
from raysearch.training.conditions import PER_PRODUCT

OVER_ALL = "All"


@dataclass(frozen=True)
class Cell:
    """A score of a system: a machine type's, or the harmonic mean over all.

    Attributes:
        score: mean over the seeds; None without a final test.
        low: lower bound, with 97.5 % confidence, over other clips and, with several, other seeds.
        high: upper bound.
        paper: score in the paper; None for a machine type that it does not have.
    """

    score: float | None
    low: float | None
    high: float | None
    paper: float | None


@dataclass(frozen=True)
class TableRow:
    """A system in a table.

    Attributes:
        cells: by machine type, and `OVER_ALL`.
        models: number of networks that score the test IDs of a machine type.
    """

    system: System
    cells: Mapping[str, Cell]
    models: int


def write_table_one(out: UPath, machines: Sequence[str], seeds: int) -> list[UPath]:
    """Write the best configurations beside those of Table I.

    Args:
        out: folder of the results.
        machines: machine types.
        seeds: number of repetitions of each study.

    Returns:
        Paths of the files.
    """
    names = ("lr", "batch_size", "lambda", "h", "p")
    (system,) = SYSTEMS["table1"]
    winners: dict[str, list[tuple[str, ...]]] = {}
    for machine in machines:
        folders = [system_folder(out, system.name, machine, seed) for seed in range(seeds)]
        winners[machine] = [_configuration(read_results(folder).winner) for folder in folders]
    rows = []
    for k, name in enumerate(names):
        for seed in range(seeds):
            label = name if seeds == 1 else f"{name}, seed {seed}"
            rows.append([label, *(winners[machine][seed][k] for machine in machines)])
        paper = [number(TABLE_ONE[m][k]) if m in TABLE_ONE else "-" for m in machines]
        rows.append([f"{name}, paper", *paper])
    header = ["parameter", *machines]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(out / "table1.csv", text.getvalue())
    return [out / "table1.csv", *write_people(out / "table1", header, rows)]


def _configuration(winner: Winner | None) -> tuple[str, ...]:
    assert winner is not None
    configuration = winner.configuration
    values = (configuration.lr, configuration.batch_size, configuration.lam)
    return (*map(number, values), winner.inlier.name, number(winner.inlier.p))


def table_rows(
    systems: Sequence[System], out: UPath, machines: Sequence[str], seeds: int
) -> list[TableRow]:
    """Read the rows of a table from the folders of the studies.

    Args:
        systems: a row each.
        out: folder of the results.
        machines: machine types.
        seeds: number of repetitions of each study.
    """
    rows = []
    for system in systems:
        results = {
            machine: [
                read_results(system_folder(out, system.name, machine, seed))
                for seed in range(seeds)
            ]
            for machine in machines
        }
        first = results[machines[0]][0]
        rows.append(TableRow(system, _cells(system.paper, results), count_models(first)))
    return rows


def _cells(paper: PaperRow | None, results: Mapping[str, Sequence[Results]]) -> dict[str, Cell]:
    scores = {machine: _mean_score(repeated) for machine, repeated in results.items()}
    means = {machine: _mean(repeated) for machine, repeated in results.items()}
    cells = {
        machine: Cell(scores[machine], *_bounds(means[machine], scores[machine]), paper_score)
        for machine in results
        for paper_score in [_in_paper(paper, [machine])]
    }
    values = [score for score in scores.values() if score is not None]
    known = [mean for mean in means.values() if mean is not None]
    # Means over different machine types do not compare.
    score = harmonic_mean(values) if len(values) == len(results) else None
    over_all = harmonic_spread(known) if len(known) == len(results) else None
    cells[OVER_ALL] = Cell(score, *_bounds(over_all, score), _in_paper(paper, list(results)))
    return cells


def _in_paper(paper: PaperRow | None, machines: Sequence[str]) -> float | None:
    """Return the paper's harmonic mean over machine types, as printed if they are all of them."""
    if paper is None:
        return None
    if set(machines) == set(paper.scores):
        return paper.over_all / 100
    known = [paper.scores[machine] / 100 for machine in machines if machine in paper.scores]
    return harmonic_mean(known) if len(known) == len(machines) else None


def _mean_score(repeated: Sequence[Results]) -> float | None:
    """Return the mean final score over the seeds; None if one has none."""
    scores = [results.final_score for results in repeated if results.final_score is not None]
    return float(np.mean(scores)) if len(scores) == len(repeated) else None


def _mean(repeated: Sequence[Results]) -> Mean | None:
    """Return the mean final score over the seeds with its variance; None without an interval."""
    runs: list[ClipScores] = [
        clip_scores_by_id(results.scores, list(results.final.areas)) for results in repeated
    ]
    return mean_spread(runs) if all(runs) and not no_interval(runs) else None


def _bounds(mean: Mean | None, score: float | None) -> tuple[float | None, float | None]:
    if mean is None or score is None:
        return None, None
    return logit_interval(mean.center, mean.spread, score)


def count_models(results: Results) -> int:
    """Count the networks that score the test IDs of a study's machine type."""
    space = results.space
    members = [space.member(name).fixed.method for name in space.members]
    methods: list[str] = [*members] or [results.method]
    return sum(
        len(space.test_ids) if method in PER_PRODUCT else int(method != "baseline")
        for method in methods
    )


def write_table(
    stem: UPath, systems: Sequence[System], machines: Sequence[str], seeds: int
) -> list[UPath]:
    """Write Table II, Table III or another table of systems.

    The csv has a line for each system and machine type, in full precision; md and tex have the
    shape of the paper's table, in percent.

    Args:
        stem: path of the files without suffix, in the folder of the results.
        systems: a row each.
        machines: machine types.
        seeds: number of repetitions of each study.

    Returns:
        Paths of the files.
    """
    rows = table_rows(systems, stem.parent, machines, seeds)
    write_text(stem.with_suffix(".csv"), _csv(rows, seeds))
    columns = [*machines, OVER_ALL]
    header = ["system", *columns, "models"]
    lines, strong = [], []
    for row in rows:
        block = _lines(row, columns)
        lines += block
        strong += [True] + [False] * (len(block) - 1)
    marks = [[mark and column == 0 for column in range(len(header))] for mark in strong]
    paths = write_people(stem, header, lines, marks, notes=_notes(rows, seeds))
    return [stem.with_suffix(".csv"), *paths]


def _lines(row: TableRow, columns: Sequence[str]) -> list[list[str]]:
    """Return the lines of a system: its scores, their intervals, and the paper's scores."""
    cells = [row.cells[column] for column in columns]
    lines = [
        [row.system.label, *(_percent(cell.score) for cell in cells), str(row.models)],
        ["95 % interval", *map(_interval, cells), ""],
    ]
    paper = row.system.paper
    if paper is None:
        return lines
    return [
        *lines,
        ["paper", *(_percent(cell.paper) for cell in cells), str(paper.models or "")],
        ["difference", *map(_difference, cells), ""],
    ]


def _notes(rows: Sequence[TableRow], seeds: int) -> list[str]:
    repeated = "one seed" if seeds == 1 else f"means over {seeds} seeds"
    notes = [
        f"Harmonic means of AUC and pAUC over the test IDs in percent, {repeated}; intervals are "
        + ("over other clips." if seeds == 1 else "over other clips and other seeds.")
    ]
    return notes + [f"{row.system.label}: {row.system.note}." for row in rows if row.system.note]


def _csv(rows: Sequence[TableRow], seeds: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["system", "machine", "ours", "low", "high", "seeds", "paper", "difference", "models"]
    )
    for row in rows:
        for machine, cell in row.cells.items():
            gap = None if cell.score is None or cell.paper is None else cell.score - cell.paper
            numbers = (cell.score, cell.low, cell.high, seeds, cell.paper, gap, row.models)
            exact = ["" if value is None else repr(value) for value in numbers]
            writer.writerow([row.system.label, machine, *exact])
    return text.getvalue()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _interval(cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return "-"
    return f"{100 * cell.low:.1f} to {100 * cell.high:.1f}"


def _difference(cell: Cell) -> str:
    if cell.score is None or cell.paper is None:
        return "-"
    return f"{100 * (cell.score - cell.paper):+.2f}"
