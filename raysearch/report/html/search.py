"""The search: what was tried, what came of it, and which hyperparameters matter."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from html import escape
from itertools import accumulate
from statistics import fmean

import plotly.graph_objects as go

from raysearch.report.html import optuna_charts
from raysearch.report.html.parts import Absent, Chart, Part, Section, Table, View
from raysearch.report.html.results import Results
from raysearch.report.html.style import ACCENT, ANOMALOUS, INK, MUTED, SCALE, figure
from raysearch.report.wording import inlier_words, origin, settings
from raysearch.study.records import Record, State

MOST_FAILURES = 20


def search_section(results: Results) -> Section:
    """History, parallel coordinates, importances, inlier models, slices, failures."""
    text = (
        "A trial trains one encoder; unless the space says otherwise, every inlier model and p is "
        "then tried on it. Trials that only train a finalist again are left out here."
    )
    return Section("search", "The search", text, _parts(results))


def _parts(results: Results) -> list[Part]:
    if not results.searched:
        return [Absent("History", "No trial has ended yet.")]
    parts: list[Part] = [_history(results.searched)]
    rows = optuna_charts.rows_of(results.scored)
    if rows:
        parts += [_heat_map(results.scored), *_optunas(rows, results)]
    if failures := _failures(results.records):
        parts.append(failures)
    return parts


def _optunas(rows: Sequence[optuna_charts.Row], results: Results) -> list[Part]:
    names = optuna_charts.varied(rows)
    if len(results.scored) < 2:
        reason = (
            "They compare trials; so far one has a score. A search with more --trials has them."
        )
        return [Absent("Parallel coordinates, importances and slices", reason)]
    drawn = optuna_charts.thinned(rows, optuna_charts.MOST_LINES)
    study = optuna_charts.rebuilt(drawn, results.space)
    few = f" Of {len(rows)} rows {len(drawn)} are drawn." if len(drawn) < len(rows) else ""
    slices = optuna_charts.rebuilt(
        optuna_charts.thinned(rows, optuna_charts.MOST_ROWS), results.space
    )
    return [
        Chart(
            "parallel",
            "Parallel coordinates",
            optuna_charts.parallel(study),
            "Each line is an encoder with one inlier model and p; the darker (on a dark page: the "
            "brighter) and thicker, the higher its score. Where strong lines meet, a value is "
            f"good.{few}",
            least=640,
        ),
        Chart(
            "importances",
            "Importances",
            optuna_charts.importances(rows, results.space),
            "How much of the variance of scores each hyperparameter explains by itself (fANOVA). "
            "A small one may be left at any value; with few trials the shares are rough. What had "
            "one value only is left out.",
            half=True,
        ),
        *(
            Chart(
                f"slice-{name}",
                f"Scores by {name}",
                optuna_charts.slice_of(slices, name),
                f"Each dot is an encoder with one inlier model and p, at its {name}; later "
                "trials are darker (on a dark page: brighter). A slope says which way to go on.",
                half=True,
            )
            for name in names
        ),
    ]


def _history(records: Sequence[Record]) -> Chart:
    scored = [record for record in records if _is_scored(record)]
    given_up = [record for record in records if record.state is State.PRUNED]
    failed = [record for record in records if _is_failed(record)]
    levels = [score for record in records if (score := _level(record)) is not None]
    floor = min(levels, default=0.0) - 0.01

    def level(record: Record) -> float:
        found = _level(record)
        return floor if found is None else found

    traces = [
        _best_so_far(scored),
        _dots(scored, "finished", {"color": INK, "size": 8}, level),
        _dots(given_up, "pruned", {"color": MUTED, "size": 9, "symbol": "x-thin-open"}, level),
        _dots(failed, "failed", {"color": ANOMALOUS, "size": 9, "symbol": "x"}, level),
    ]
    drawn = [trace for trace in traces if len(trace.x)]
    chart = figure(drawn, x="trial", y="validation score", height=360)
    caption = (
        f"{len(scored)} finished, {len(given_up)} pruned, since they were behind at a rung, "
        f"{len(failed)} failed. A dot is the best score of a trial, a cross where a pruned one "
        "stood when it was given up; what has no score lies at the bottom. The line is the best "
        "so far: when it has been flat for long, more trials bring little."
    )
    return Chart("history", "History", chart, caption)


def _is_scored(record: Record) -> bool:
    return record.state is State.COMPLETE and record.best is not None


def _is_failed(record: Record) -> bool:
    """Whether a trial failed, be it that no inlier model could be fitted."""
    return record.state is not State.PRUNED and not _is_scored(record)


def _level(record: Record) -> float | None:
    """The best score of a trial; of one that was given up, that of its last rung."""
    if record.state is State.COMPLETE:
        return record.best.val_score if record.best else None
    return next((e.val_score for e in reversed(record.history) if e.val_score is not None), None)


def _best_so_far(scored: Sequence[Record]) -> go.Scatter:
    best = accumulate((level for record in scored if (level := _level(record)) is not None), max)
    return go.Scatter(
        x=[record.proposal.number for record in scored],
        y=list(best),
        mode="lines",
        name="best so far",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )


def _dots(
    records: Sequence[Record],
    name: str,
    marker: dict[str, object],
    level: Callable[[Record], float],
) -> go.Scatter:
    return go.Scatter(
        x=[record.proposal.number for record in records],
        y=[level(record) for record in records],
        mode="markers",
        name=name,
        marker=marker,
        text=[_told(record) for record in records],
        hovertemplate="%{text}<extra></extra>",
    )


def _told(record: Record) -> str:
    """A trial, for who points at it."""
    proposal, best = record.proposal, record.best
    lines = [f"trial {proposal.number}: {settings(proposal)}"]
    if best is not None and record.state is State.COMPLETE:
        lines.append(f"{best.val_score:.4f} with {inlier_words(best.spec)}")
    lines += [origin(proposal), record.error[:120]]
    return "<br>".join(escape(line) for line in lines if line)


def _heat_map(records: Sequence[Record]) -> Chart:
    found: dict[tuple[str, float | None], list[float]] = defaultdict(list)
    for record in records:
        for row in record.rows:
            if row.val_score is not None:
                found[row.inlier, row.p].append(row.val_score)
    models = list(dict.fromkeys(model for model, _ in found))
    ps = sorted({p for _, p in found if p is not None})
    columns = [*ps, *([None] if any(p is None for _, p in found) else [])]
    names = ["no p" if p is None else f"{p:g}" for p in columns]
    traces = []
    for kind, of in (("best", max), ("mean", fmean)):
        cells = [[found.get((model, p)) for p in columns] for model in models]
        traces.append(
            go.Heatmap(
                x=names,
                y=models,
                z=[[of(cell) if cell else None for cell in line] for line in cells],
                text=[[f"{of(cell):.3f}" if cell else "" for cell in line] for line in cells],
                customdata=[[len(cell or ()) for cell in line] for line in cells],
                texttemplate="%{text}",
                colorscale=SCALE,
                xgap=2,
                ygap=2,
                showscale=False,
                visible=kind == "best",
                hovertemplate="%{y}, p %{x}<br>" + kind + " score %{z:.4f} of %{customdata} "
                "encoders<extra></extra>",
            )
        )
    chart = figure(traces, x="p", y="", height=110 + 44 * len(models))
    chart.update_xaxes(type="category", showgrid=False)
    chart.update_yaxes(type="category", autorange="reversed", showgrid=False)
    caption = (
        "Scores of each inlier model and p over the encoders that it was tried on: the best one "
        "tells what is possible, the mean what can be relied on."
    )
    views = (View("best encoder", (0,)), View("mean of encoders", (1,)))
    return Chart("inliers", "Inlier models", chart, caption, views)


def _failures(records: Sequence[Record]) -> Table | None:
    failed = [record for record in records if _is_failed(record)]
    if not failed:
        return None
    rows = [
        [
            str(r.proposal.number),
            settings(r.proposal),
            r.host,
            _reason(r),
        ]
        for r in failed[:MOST_FAILURES]
    ]
    more = len(failed) - len(rows)
    caption = f"{more} more are in trials.csv." if more else ""
    return Table("Failed trials", ["trial", "configuration", "machine", "reason"], rows, caption)


def _reason(record: Record) -> str:
    """Why a trial has no score; each reason of its inlier models once."""
    return record.error or "; ".join(dict.fromkeys(row.error for row in record.rows))
