"""The search: history of the trials, and the importance of the hyperparameters."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from itertools import accumulate
from statistics import fmean

import plotly.graph_objects as go

from raysearch.report.html import optuna_charts
from raysearch.report.html.parts import Absent, Chart, Part, Section, Table, View, draw
from raysearch.report.html.style import ACCENT, ANOMALOUS, INK, MUTED, SCALE, figure
from raysearch.report.wording import format_inlier, origin, settings, validation_score
from raysearch.study.records import Record, State
from raysearch.study.results import Results
from raysearch.study.space import Space

MOST_FAILURES = 20


def search_section(results: Results) -> Section:
    """Return the section with history, inlier models, Optuna's charts and failures."""
    text = (
        "A trial trains one encoder; unless the space says otherwise, every inlier model and p is "
        "then tried on it. Trials that only train a finalist again are left out here."
    )
    return Section("search", "The search", text, _parts(results))


def _parts(results: Results) -> list[Part]:
    if not results.searched:
        return [Absent("History", "No trial has ended yet.")]
    if not results.space.validation_ids:
        reason = "A single configuration was trained: without validation labels none compare."
        return [part for part in (Absent("History", reason), _failures(results.records)) if part]
    parts: list[Part] = [draw("History", lambda: _history(results.searched))]
    rows = optuna_charts.scored_rows(results.scored)
    if rows:
        parts.append(draw("Inlier models", lambda: _heat_map(results.scored)))
        parts += _optuna_parts(rows, results)
    if failures := _failures(results.records):
        parts.append(failures)
    return parts


def _optuna_parts(rows: Sequence[optuna_charts.Row], results: Results) -> list[Part]:
    names = optuna_charts.varying(rows)
    if len(results.scored) < 2:
        reason = (
            "They compare trials; so far one has a score. A search with more --trials has them."
        )
        return [Absent("Parallel coordinates, importances and slices", reason)]
    drawn = optuna_charts.thin(rows, optuna_charts.MOST_LINES)
    study = optuna_charts.build_study(drawn, results.space)
    sample_note = f" Of {len(rows)} rows {len(drawn)} are drawn." if len(drawn) < len(rows) else ""
    slices = optuna_charts.build_study(
        optuna_charts.thin(rows, optuna_charts.MOST_ROWS), results.space
    )
    return [
        draw("Parallel coordinates", lambda: _parallel(study, sample_note)),
        draw("Importances", lambda: _importances(rows, results.space)),
        *(draw(f"Scores by {name}", partial(_slice, slices, name)) for name in names),
    ]


def _parallel(study: optuna_charts.RowStudy, sample_note: str) -> Chart:
    return Chart(
        "parallel",
        "Parallel coordinates",
        optuna_charts.plot_parallel(study),
        "Each line is an encoder with one inlier model and p; the darker (on a dark page: the "
        "brighter) and thicker, the higher its score. Where strong lines meet, a value is "
        f"good; – stands where a method or a model has no such hyperparameter.{sample_note}",
        min_width=640,
    )


def _importances(rows: Sequence[optuna_charts.Row], space: Space) -> Part:
    if len({row.score for row in rows}) == 1:
        reason = f"All scores are {rows[0].score:.4f}: there is no variance to explain."
        return Absent("Importances", reason)
    return Chart(
        "importances",
        "Importances",
        optuna_charts.plot_importances(rows, space),
        "How much of the variance of scores each hyperparameter explains by itself (fANOVA). "
        "A small one may be left at any value; with few trials the shares are rough. "
        "Hyperparameters with one value are left out.",
        half=True,
    )


def _slice(study: optuna_charts.RowStudy, name: str) -> Chart:
    return Chart(
        f"slice-{name}",
        f"Scores by {name}",
        optuna_charts.plot_scores(study, name),
        f"Each dot is an encoder with one inlier model and p, at its {name}; later "
        "trials are darker (on a dark page: brighter). A slope shows where to search next.",
        half=True,
    )


def _history(records: Sequence[Record]) -> Chart:
    scored = [record for record in records if _is_scored(record)]
    pruned = [record for record in records if record.state is State.PRUNED]
    failed = [record for record in records if _is_failed(record)]
    levels = [score for record in records if (score := _level(record)) is not None]
    floor = min(levels, default=0.0) - 0.01

    def level(record: Record) -> float:
        score = _level(record)
        return floor if score is None else score

    traces = [
        _best_so_far(scored),
        _trial_markers(scored, "finished", {"color": INK, "size": 8}, level),
        _trial_markers(
            pruned, "pruned", {"color": MUTED, "size": 9, "symbol": "x-thin-open"}, level
        ),
        _trial_markers(failed, "failed", {"color": ANOMALOUS, "size": 9, "symbol": "x"}, level),
    ]
    drawn = [trace for trace in traces if len(trace.x)]
    chart = figure(drawn, x="trial", y="validation score", height=360)
    caption = (
        f"{len(scored)} finished, {len(pruned)} pruned, since they were behind at a rung, "
        f"{len(failed)} failed. A dot is the best score of a trial, a cross the score of a pruned "
        "trial at its last rung; trials without a score lie at the bottom. The line is the best "
        "so far: when it has been flat for long, more trials bring little."
    )
    return Chart("history", "History", chart, caption)


def _is_scored(record: Record) -> bool:
    return record.state is State.COMPLETE and record.best is not None


def _is_failed(record: Record) -> bool:
    """Return True if a trial failed, or if no inlier model could be fitted."""
    return record.state is not State.PRUNED and not _is_scored(record)


def _level(record: Record) -> float | None:
    """Return the best score of a trial, or the score at the last rung of a pruned trial."""
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


def _trial_markers(
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
        text=[_hover_text(record) for record in records],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover_text(record: Record) -> str:
    """Return the hover text of a trial."""
    proposal, best = record.proposal, record.best
    lines = [f"trial {proposal.number}: {settings(proposal)}"]
    if best is not None and record.state is State.COMPLETE:
        lines.append(f"{validation_score(best.val_score)} with {format_inlier(best.spec)}")
    lines += [origin(proposal), record.error[:120]]
    return "<br>".join(escape(line) for line in lines if line)


def _heat_map(records: Sequence[Record]) -> Chart:
    scores: dict[tuple[str, float | None], list[float]] = defaultdict(list)
    for record in records:
        for row in record.rows:
            if row.val_score is not None:
                scores[row.inlier, row.p].append(row.val_score)
    models = list(dict.fromkeys(model for model, _ in scores))
    ps = sorted({p for _, p in scores if p is not None})
    columns = [*ps, *([None] if any(p is None for _, p in scores) else [])]
    names = ["no p" if p is None else f"{p:g}" for p in columns]
    traces = []
    for kind, aggregate in (("best", max), ("mean", fmean)):
        cells = [[scores.get((model, p)) for p in columns] for model in models]
        traces.append(
            go.Heatmap(
                x=names,
                y=models,
                z=[[aggregate(cell) if cell else None for cell in line] for line in cells],
                text=[
                    [f"{aggregate(cell):.3f}" if cell else "" for cell in line] for line in cells
                ],
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
            str(record.proposal.number),
            settings(record.proposal),
            record.host,
            _reason(record),
        ]
        for record in failed[:MOST_FAILURES]
    ]
    hidden = len(failed) - len(rows)
    caption = f"{hidden} more are in trials.csv." if hidden else ""
    return Table("Failed trials", ["trial", "configuration", "machine", "reason"], rows, caption)


def _reason(record: Record) -> str:
    """Return the error of a trial, or the distinct errors of its inlier models."""
    return record.error or "; ".join(dict.fromkeys(row.error for row in record.rows))
