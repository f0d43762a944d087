"""The page over all studies of a folder: machine types side by side."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.html.page import NAME, render, study_page
from raysearch.report.html.parts import Absent, Chart, Link, Page, Part, Section, Table, Tile
from raysearch.report.html.results import Results, read_results
from raysearch.report.html.style import ACCENT, ANOMALOUS, SOFT, figure
from raysearch.report.html.verdict import advantage
from raysearch.report.tables import Overview, machine_order, number, overview, percent
from raysearch.report.wording import count, settings
from raysearch.storage import write_text
from raysearch.study.folder import studies_at, studies_in


def write_reports(folder: UPath) -> list[UPath]:
    """Writes `report.html` of a run; of a folder of runs that of each, and one over all.

    Returns:
        What was written; the page over all comes last.

    Raises:
        UserError: there is no run.
    """
    studies = studies_at(folder)
    if not studies:
        raise UserError(f"{folder} holds no study (no study.json); `raysearch run` makes one")
    read = [read_results(study) for study in studies]
    for results in read:
        write_text(results.folder / NAME, render(study_page(results)))
    written = [results.folder / NAME for results in read]
    return written if studies == [folder] else [*written, _write_overview(folder, read)]


def write_overview(folder: UPath) -> UPath:
    """Writes `report.html` over all runs of a folder, and none of theirs.

    Raises:
        UserError: one of them cannot be read by this version.
    """
    return _write_overview(folder, [read_results(study) for study in studies_in(folder)])


def _write_overview(folder: UPath, read: Sequence[Results]) -> UPath:
    write_text(folder / NAME, render(overview_page(folder, read)))
    return folder / NAME


def overview_page(folder: UPath, read: Sequence[Results]) -> Page:
    """The page over some studies of a folder."""
    ordered = sorted(read, key=lambda one: machine_order(one.machine, one.folder.name))
    won = any(one.held is not None for one in ordered)
    parts: list[Part] = [_table(ordered)]
    if any(one.winner is not None for one in ordered):
        parts.insert(0, _chart(ordered))
    tables = overview(folder) if won else None
    # Several series of studies have a mean each.
    together = tables.results[0]["All"] if tables and len(tables.results) == 1 else None
    return Page(
        f"raysearch · {folder}",
        "1 study" if len(ordered) == 1 else f"{len(ordered)} studies",
        _lead(ordered, together),
        _tiles(ordered, together),
        [],
        [
            Section("studies", "Machine types", "Each name leads to the study's own page.", parts),
            Section("tables", "Tables", "As `raysearch export` writes them.", _tables(tables)),
        ],
    )


def _lead(read: Sequence[Results], together: float | None) -> str:
    done = [one.machine for one in read if one.held is not None]
    text = f"{len(done)} of {len(read)} have a frozen winner."
    tested = sum(one.final_score is not None for one in read)
    if not tested:
        return f"{text} None has met its test IDs yet."
    if together is None:
        return f"{text} {tested} of them met test IDs that the searches never saw."
    return (
        f"{text} On test IDs that the searches never saw, the winners reach {together:.4f}: the "
        f"harmonic mean over {count(tested, 'final test')}."
    )


def _tiles(read: Sequence[Results], together: float | None) -> list[Tile]:
    trials = sum(len(one.records) for one in read)
    hours = sum(record.device_seconds for one in read for record in one.records) / 3600
    found = [
        Tile("Trials", str(trials), "of all studies"),
        Tile("Device hours", f"{hours:.3g}", "GPUs, or processes on CPUs"),
    ]
    if together is not None:
        found.insert(0, Tile("Final test", f"{together:.4f}", "harmonic mean over machine types"))
    return found


def _chart(read: Sequence[Results]) -> Chart:
    shown = [one for one in read if one.winner is not None]
    names = [one.folder.name for one in shown]
    traces = [
        go.Scatter(
            x=[low, high],
            y=[name, name],
            mode="lines",
            showlegend=False,
            line={"color": SOFT, "width": 16},
            hoverinfo="skip",
        )
        for name, one in zip(names, shown, strict=True)
        if (low := one.confidence.low) is not None and (high := one.confidence.high) is not None
    ]
    traces += [
        _marks("validation score", names, [_validation(one) for one in shown], ACCENT, "circle"),
        _marks("final test", names, [one.final_score for one in shown], ANOMALOUS, "diamond"),
    ]
    chart = figure(traces, x="score", y="", height=120 + 36 * len(shown))
    chart.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1])
    caption = (
        "Dots are validation scores with their 95 % intervals, diamonds what came of them on the "
        "test IDs. A diamond far left of its bar is a search that fitted its validation clips."
    )
    return Chart("machines", "Validation and final test", chart, caption)


def _validation(one: Results) -> float | None:
    return None if one.winner is None else one.winner.score


def _marks(
    name: str, rows: list[str], values: list[float | None], colour: str, shape: str
) -> go.Scatter:
    return go.Scatter(
        x=values,
        y=rows,
        mode="markers",
        name=name,
        marker={"color": colour, "size": 11, "symbol": shape},
        hovertemplate="%{y}<br>" + name + " %{x:.4f}<extra></extra>",
    )


def _table(read: Sequence[Results]) -> Table:
    header = [
        "study",
        "state",
        "winner",
        "validation",
        "ahead of the second",
        "final test",
        "trials",
    ]
    return Table(
        "Studies",
        header,
        [_row(one) for one in read],
        "The lead is over the mean of as many seeds as both have; ~ marks one within noise.",
        numbers=frozenset({3, 4, 5, 6}),
    )


def _row(one: Results) -> list[str | Link]:
    name = one.folder.name
    link = Link(name if name == one.machine else f"{name} ({one.machine})", f"{name}/{NAME}")
    trials = str(len(one.records))
    if one.winner is None:
        return [link, "no result yet", "–", "–", "–", "–", trials]
    ahead = "–"
    if one.second is not None and one.ranking is not None:
        ahead = f"{'~ ' if one.confidence.is_noise else ''}{advantage(one.ranking):+.4f}"
    state = "provisional" if one.held is None else "finished"
    final = "–" if one.final_score is None else f"{one.final_score:.4f}"
    return [
        link,
        state,
        settings(one.winner),
        f"{one.winner.score:.4f}",
        ahead,
        final,
        trials,
    ]


def _tables(tables: Overview | None) -> list[Part]:
    if tables is None:
        return [Absent("Winners and results", "No study has come to its end yet.")]
    return [
        _paper(
            "Winners",
            [row for row in tables.configs if row["parameter"] != "note"],
            number,
            "The best configuration of every machine type; notes stand on its own page.",
        ),
        _paper(
            "Results",
            tables.results,
            percent,
            "Harmonic means [%] of AUC and pAUC over the test IDs; “All” is the harmonic mean of "
            "the columns, for a row that has all of them.",
        ),
    ]


def _paper(
    title: str, rows: list[dict[str, Any]], people: Callable[[Any], str], caption: str
) -> Table:
    header = list(rows[0])
    cells = [[people(value) for value in row.values()] for row in rows]
    return Table(title, header, cells, caption, numbers=frozenset(range(1, len(header))))
