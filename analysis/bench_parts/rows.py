"""Rows of bench.py: duels, figures and what could not be run; as a table and as CSV."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench_parts.duel import Timing
from tabulate import tabulate


@dataclass(frozen=True)
class Figure:
    """A measured figure without an opponent.

    Attributes:
        part: name, as in the table.
        unit: of the value.
        value: of the figure.
        least: least value that is good; None if there is none.
        remark: what a reader must know.
        most: largest value that is good; None if there is none.
    """

    part: str
    unit: str
    value: float
    least: float | None = None
    remark: str = ""
    most: float | None = None

    @property
    def limit(self) -> str:
        """Bounds of a good value, as text."""
        bounds = [(">=", self.least), ("<=", self.most)]
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    @property
    def passed(self) -> bool | None:
        """True for a good value; None without bounds."""
        if self.least is None and self.most is None:
            return None
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)


@dataclass(frozen=True)
class Row:
    """A line of bench.csv; rates are units per second, times are in s, one of each repeat.

    Attributes:
        kind: `duel`, `figure`, or `left out`.
        ratio: median time of the plain recipe over raysearch's.
        remark: of the sizes, or the reason why a part is left out.
    """

    part: str
    kind: str
    unit: str = ""
    amount: float | None = None
    plain_s: str = ""
    raysearch_s: str = ""
    plain_rate: float | None = None
    raysearch_rate: float | None = None
    ratio: float | None = None
    value: float | None = None
    limit: str = ""
    passed: bool | None = None
    remark: str = ""


def row_of(result: Timing | Figure) -> Row:
    """Return the row of a duel or a figure."""
    if isinstance(result, Figure):
        return Row(
            result.part,
            "figure",
            result.unit,
            value=result.value,
            limit=result.limit,
            passed=result.passed,
            remark=result.remark,
        )
    return Row(
        result.duel.part,
        "duel",
        result.duel.unit,
        result.duel.amount,
        _joined(result.plain),
        _joined(result.raysearch),
        result.rate(result.plain),
        result.rate(result.raysearch),
        result.ratio,
        remark=result.duel.remark,
    )


def left_out(part: str, reason: str) -> Row:
    """Return the row of a part that could not be run."""
    return Row(part, "left out", remark=reason)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def table(rows: Sequence[Row]) -> str:
    """Return the tables of the duels, of the figures, and of what was left out."""
    duels = [
        (
            row.part,
            row.unit,
            _cell(row.plain_rate),
            _cell(row.raysearch_rate),
            _cell(row.ratio),
            row.remark,
        )
        for row in rows
        if row.kind == "duel"
    ]
    figures = [
        (row.part, _cell(row.value), row.unit, row.limit, _verdict(row.passed), row.remark)
        for row in rows
        if row.kind == "figure"
    ]
    missing = [(row.part, row.remark) for row in rows if row.kind == "left out"]
    tables: list[tuple[Sequence[Sequence[str]], Sequence[str]]] = [
        (duels, ("part", "unit", "plain /s", "raysearch /s", "ratio", "remark")),
        (figures, ("figure", "value", "unit", "limit", "passed", "remark")),
        (missing, ("left out", "reason")),
    ]
    return "\n\n".join(
        tabulate(lines, headers, disable_numparse=True) for lines, headers in tables if lines
    )


def _joined(seconds: Sequence[float]) -> str:
    return ";".join(f"{value:.6g}" for value in seconds)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _verdict(passed: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[passed]
