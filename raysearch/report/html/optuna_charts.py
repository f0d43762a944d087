"""Charts and fANOVA by Optuna, over an Optuna study with a trial for each row of trials.csv.

In the search a trial is an encoder. Here a trial is an encoder with one inlier model and one p, so
that the charts cover all five hyperparameters.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator
from optuna.study import Study
from optuna.trial import create_trial
from optuna.visualization import (
    plot_parallel_coordinate,
    plot_param_importances,
    plot_slice,
)

from raysearch.report.html.style import ACCENT, GRID, MUTED, SCALE, apply_style, shade
from raysearch.search.dimensions import Axis, axes
from raysearch.search.optuna_backend import quiet_optuna
from raysearch.study.records import Record
from raysearch.study.space import Space
from raysearch.training.outcome import InlierResult

SCORE = "validation score"
MOST_LINES, MOST_ROWS = 300, 2000
"""Limits of rows in parallel coordinates and in importances; more rows take too long."""
TREES = 32
"""Number of trees of fANOVA: half of Optuna's default, in half of the time."""


@dataclass(frozen=True)
class Row:
    """An encoder with one inlier model and p, and its validation score."""

    params: dict[str, Any]
    score: float


def scored_rows(records: Sequence[Record]) -> list[Row]:
    """Return the rows of trials that have a score, in order."""
    return [
        Row(_params(record, row), row.val_score)
        for record in records
        for row in record.rows
        if row.val_score is not None
    ]


def _params(record: Record, row: InlierResult) -> dict[str, Any]:
    params = {**record.proposal.configuration.to_dict(), "inlier": row.inlier}
    return params if row.p is None else params | {"p": row.p}


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the hyperparameters with more than one value among rows."""
    return [
        name
        for name in _names(rows)
        if len({row.params[name] for row in rows if name in row.params}) > 1
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    """Return the hyperparameters of rows: those of the encoder, then the inlier model and p."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    last = [name for name in ("inlier", "p") if name in names]
    return [name for name in names if name not in last] + last


def thin(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return at most `limit` rows, evenly spaced by score, with the best and the worst."""
    if len(rows) <= limit:
        return list(rows)
    ordered = sorted(rows, key=lambda row: row.score)
    return [ordered[round(k * (len(rows) - 1) / (limit - 1))] for k in range(limit)]


RowStudy = Study
"""Optuna's study of rows, as `build_study` makes it."""


def build_study(rows: Sequence[Row], space: Space) -> Study:
    """Create an Optuna study in memory with a completed trial for each row."""
    with quiet_optuna():
        study = optuna.create_study(direction="maximize")
    distributions = _distributions(rows, space)
    study.add_trials(
        create_trial(
            params=row.params,
            distributions={name: distributions[name] for name in row.params},
            value=row.score,
        )
        for row in rows
    )
    return study


def _distributions(rows: Sequence[Row], space: Space) -> dict[str, BaseDistribution]:
    """Return a range for a sampled range of the space, else the choice of the values tried."""
    distributions: dict[str, BaseDistribution] = {}
    ranges = {
        name: axis
        for name, axis in axes(space).items()
        if isinstance(axis, Axis) and axis.values is None
    }
    for name in _names(rows):
        values = {row.params[name] for row in rows if name in row.params}
        if name in ranges and len(values) > 1:
            low, high = min(values), max(values)
            distributions[name] = FloatDistribution(low, high, log=ranges[name].log)
        elif values:
            distributions[name] = CategoricalDistribution(_sorted(values))
    return distributions


def _sorted(values: set[Any]) -> list[Any]:
    """Sort numbers by value, and texts after them."""
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def plot_parallel(study: Study) -> go.Figure:
    """Plot parallel coordinates over all hyperparameters, the best lines on top."""
    chart = plot_parallel_coordinate(study, params=_sampled_names(study), target_name=SCORE)
    *lines, _ = chart.data  # the last trace is the colour bar
    for line in lines:
        height = line.y[0]  # of the score, from 0 to 1
        line.update(line={"color": shade(height), "width": 1 + height}, opacity=0.35 + 0.6 * height)
    ordered = go.Figure(sorted(lines, key=lambda line: line.y[0]), chart.layout)
    apply_style(ordered, 420)
    ordered.update_layout(plot_bgcolor="rgba(0,0,0,0)", margin={"l": 48, "r": 8, "t": 24, "b": 8})
    ordered.update_shapes(line_color=GRID)
    ordered.update_annotations(font={"color": MUTED, "size": 11}, bgcolor="var(--halo)")
    for annotation in ordered.layout.annotations:
        annotation.text = "–" if annotation.text == "None" else _value_text(annotation.text)
    return ordered


def _sampled_names(study: Study) -> list[str]:
    return sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})


def plot_importances(rows: Sequence[Row], space: Space) -> go.Figure:
    """Plot the share of the score variance that each hyperparameter explains, by fANOVA.

    fANOVA needs the same parameters in all rows. A row without p counts as p = 0. A row without
    another hyperparameter counts as one with a usual value: a value of its own would stand for the
    method that lacks the hyperparameter.
    """
    thinned = thin(rows, MOST_ROWS)
    absent = {
        name: 0 if name == "p" else _usual([r.params[name] for r in thinned if name in r.params])
        for name in _names(rows)
        if any(name not in row.params for row in thinned)
    }
    filled = [Row(absent | row.params, row.score) for row in thinned]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        chart = plot_param_importances(
            build_study(filled, space),
            evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0),
            params=varying(filled),
            target_name=SCORE,
        )
    apply_style(chart, 280)
    chart.update_traces(marker_color=ACCENT, textfont_color=MUTED)
    longest = max((value for bar in chart.data for value in bar.x), default=1.0)
    chart.update_xaxes(title_text="share of the variance of scores", range=[0, 1.15 * longest])
    return chart.update_yaxes(title_text="")


def _usual(values: Sequence[Any]) -> Any:
    """Return the middle one of some numbers, or the most frequent text."""
    if all(isinstance(value, int | float) for value in values):
        return sorted(values)[len(values) // 2]
    return Counter(values).most_common(1)[0][0]


def plot_scores(study: Study, name: str) -> go.Figure:
    """Plot scores over the values of one hyperparameter."""
    chart = plot_slice(study, params=[name], target_name=SCORE)
    apply_style(chart, 280)
    chart.update_traces(
        marker={"colorscale": SCALE, "size": 7, "line": {"width": 0.5, "color": MUTED}},
        marker_showscale=False,
        hovertemplate=f"{name} %{{x}}<br>score %{{y:.4f}}<br>row %{{marker.color}}<extra></extra>",
    )
    choices = chart.layout.xaxis.categoryarray
    if choices is not None:
        texts = [_value_text(choice) for choice in choices]
        chart.update_xaxes(tickmode="array", tickvals=choices, ticktext=texts)
    elif chart.layout.xaxis.type == "log":
        ticks = log_ticks(min(chart.data[0].x), max(chart.data[0].x))
        chart.update_xaxes(tickmode="array", tickvals=ticks, ticktext=[f"{t:.3g}" for t in ticks])
    return chart.update_xaxes(title_text=name)


def _value_text(value: str) -> str:
    """Convert a value from Optuna's notation to that of a space file."""
    return value.strip("'").removesuffix(".0")


def log_ticks(low: float, high: float) -> list[float]:
    """Return round ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten.

    Powers of ten alone over two decades or more; both limits if fewer than two ticks fit.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else [low, high]
