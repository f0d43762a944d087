"""The page over all studies of a folder: machine types side by side."""

import os
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.html.page import NAME, render, study_page
from raysearch.report.html.parts import Absent, Chart, Link, Page, Part, Section, Table, Tile, draw
from raysearch.report.html.style import ACCENT, ANOMALOUS, SOFT, figure
from raysearch.report.html.verdict import advantage
from raysearch.report.tables import Overview, machine_order, number, overview, percent
from raysearch.report.wording import cell, count, settings
from raysearch.storage import write_text
from raysearch.study.folder import studies_at, studies_in
from raysearch.study.reference import NAME as NAME_OF_REFERENCE
from raysearch.study.results import Results, read_results


def write_reports(folder: UPath) -> list[UPath]:
    """Write `report.html` of a run, or of each run in a folder and one over all.

    Returns:
        Paths of the pages; the page over all comes last.

    Raises:
        UserError: the folder holds no study.
    """
    studies = studies_at(folder)
    if not studies:
        raise UserError(f"{folder} holds no study (no study.json); `raysearch run` makes one")
    all_results = [read_results(study) for study in studies]
    for results in all_results:
        write_text(results.folder / NAME, render(study_page(results)))
    written = [results.folder / NAME for results in all_results]
    return written if studies == [folder] else [*written, _write_overview(folder, all_results)]


def write_overview(folder: UPath) -> UPath:
    """Write `report.html` over all runs of a folder, without the pages of the runs.

    Raises:
        UserError: this version cannot read a study.
    """
    return _write_overview(folder, [read_results(study) for study in studies_in(folder)])


def _write_overview(folder: UPath, all_results: Sequence[Results]) -> UPath:
    write_text(folder / NAME, render(overview_page(folder, all_results)))
    return folder / NAME


def overview_page(folder: UPath, all_results: Sequence[Results]) -> Page:
    """Return the page over several studies of a folder."""
    ordered = sorted(
        all_results, key=lambda results: machine_order(results.machine, results.folder.name)
    )
    has_winner = any(results.frozen is not None for results in ordered)
    parts = [draw("Studies", lambda: _table(ordered))]
    if any(results.winner is not None for results in ordered):
        parts.insert(0, draw("Validation and final test", lambda: _chart(ordered)))
    tables = overview(folder) if has_winner else None
    # Several series of studies have a mean each.
    mean = tables.results[0]["All"] if tables and len(tables.results) == 1 else None
    return Page(
        f"raysearch · {folder}",
        "1 study" if len(ordered) == 1 else f"{len(ordered)} studies",
        _lead(ordered, mean),
        _tiles(ordered, mean),
        [],
        [
            Section("studies", "Machine types", "Each name links to the page of the study.", parts),
            Section("tables", "Tables", "As `raysearch export` writes them.", _tables(tables)),
        ],
    )


def _lead(all_results: Sequence[Results], mean: float | None) -> str:
    finished = [results.machine for results in all_results if results.frozen is not None]
    text = f"{len(finished)} of {len(all_results)} have a frozen winner."
    tested = sum(results.final_score is not None for results in all_results)
    if not tested:
        return f"{text} No final test yet."
    if mean is None:
        return (
            f"{text} {tested} of them have a final test, on test IDs that the searches never saw."
        )
    return (
        f"{text} On test IDs that the searches never saw, the winners reach {mean:.4f}: the "
        f"harmonic mean over {count(tested, 'final test')}."
    )


def _tiles(all_results: Sequence[Results], mean: float | None) -> list[Tile]:
    trials = sum(len(results.records) for results in all_results)
    hours = (
        sum(record.device_seconds for results in all_results for record in results.records) / 3600
    )
    tiles = [
        Tile("Trials", str(trials), "of all studies"),
        Tile("Device hours", f"{hours:.3g}", "GPUs, or processes on CPUs"),
    ]
    if mean is not None:
        tiles.insert(0, Tile("Final test", f"{mean:.4f}", "harmonic mean over machine types"))
    return tiles


def _chart(all_results: Sequence[Results]) -> Chart:
    shown = [results for results in all_results if results.winner is not None]
    names = [results.folder.name for results in shown]
    traces = [
        go.Scatter(
            x=[low, high],
            y=[name, name],
            mode="lines",
            showlegend=False,
            line={"color": SOFT, "width": 16},
            hoverinfo="skip",
        )
        for name, results in zip(names, shown, strict=True)
        if (low := results.confidence.low) is not None
        and (high := results.confidence.high) is not None
    ]
    traces += [
        _markers(name, names, [score(results) for results in shown], colour, shape)
        for name, score, colour, shape in (
            ("validation score", _validation_score, ACCENT, "circle"),
            ("its reference", lambda results: results.reference, ACCENT, "circle-open"),
            ("final test", lambda results: results.final_score, ANOMALOUS, "diamond"),
            (
                "reference there",
                lambda results: results.final_reference,
                ANOMALOUS,
                "diamond-open",
            ),
        )
    ]
    chart = figure(traces, x="score", y="", height=120 + 36 * len(shown))
    chart.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1])
    caption = (
        "Dots are validation scores with their 95 % intervals, diamonds are scores on the "
        "test IDs. A diamond far left of its bar is a search that fitted its validation clips. "
        "Hollow ones are the reference, which needs no training: a winner left of its own adds "
        "nothing."
    )
    return Chart("machines", "Validation and final test", chart, caption)


def _validation_score(results: Results) -> float | None:
    return None if results.winner is None else results.winner.score


def _markers(
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


def _table(all_results: Sequence[Results]) -> Table:
    header = [
        "study",
        "state",
        "winner",
        "validation",
        "reference",
        "ahead of the second",
        "final test",
        "reference there",
        "trials",
    ]
    return Table(
        "Studies",
        header,
        [_row(results) for results in all_results],
        "The lead is over the mean of as many seeds as both have; ~ marks one not beyond noise. "
        f"The reference: {NAME_OF_REFERENCE}.",
        numbers=frozenset({3, 4, 5, 6, 7, 8}),
    )


def _row(results: Results) -> list[str | Link]:
    name = results.folder.name
    link = Link(
        name if name == results.machine else f"{name} ({results.machine})",
        f"{quote(os.fsencode(name), safe='')}/{NAME}",
    )
    trials = str(len(results.records))
    reference, there = cell(results.reference), cell(results.final_reference)
    if results.winner is None:
        return [link, "no result yet", "–", "–", reference, "–", "–", there, trials]
    ahead = "–"
    if results.second is not None and results.ranking is not None:
        mark = "" if results.confidence.is_beyond_noise else "~ "
        ahead = f"{mark}{advantage(results.ranking):+.4f}"
    state = "provisional" if results.frozen is None else "finished"
    return [
        link,
        state,
        settings(results.winner),
        cell(results.winner.score),
        reference,
        ahead,
        cell(results.final_score),
        there,
        trials,
    ]


def _tables(tables: Overview | None) -> list[Part]:
    if tables is None:
        return [Absent("Winners and results", "No study has ended yet.")]
    return [
        _exported(
            "Winners",
            [row for row in tables.configs if row["parameter"] != "note"],
            number,
            "The best configuration of every machine type; notes are on the page of its study.",
        ),
        _exported(
            "Results",
            tables.results,
            percent,
            "Harmonic means [%] of AUC and pAUC over the test IDs; “All” is the harmonic mean of "
            "the columns, for a row that has all of them.",
        ),
    ]


def _exported(
    title: str, rows: list[dict[str, Any]], format_value: Callable[[Any], str], caption: str
) -> Table:
    header = list(rows[0])
    cells = [[format_value(value) for value in row.values()] for row in rows]
    return Table(title, header, cells, caption, numbers=frozenset(range(1, len(header))))
