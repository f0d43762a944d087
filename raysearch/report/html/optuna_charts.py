"""Optuna's own charts and fANOVA, over an Optuna study with a trial for each row of trials.csv.

In the search a trial is an encoder; here it is an encoder with one inlier model and one p, so that
all five hyperparameters have their say.
"""

import math
import warnings
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

from raysearch.report.html.style import ACCENT, GRID, MUTED, SCALE, dress, shade
from raysearch.search.dimensions import axes
from raysearch.search.optuna_backend import quiet_optuna
from raysearch.study.records import Record
from raysearch.study.space import Space
from raysearch.training.outcome import InlierResult

HYPERPARAMETERS = ("lr", "batch_size", "lambda", "inlier", "p")
SCORE = "validation score"
MOST_LINES, MOST_ROWS = 300, 2000
"""Rows that are drawn as lines, and rows that importances follow from: more takes too long."""
TREES = 32
"""Of fANOVA's forest: half of Optuna's own number, in half of the time."""


@dataclass(frozen=True)
class Row:
    """An encoder with one inlier model and p, and its validation score."""

    params: dict[str, Any]
    score: float


def rows_of(records: Sequence[Record]) -> list[Row]:
    """The rows with a score of trials, in their order."""
    return [
        Row(_params(record, row), row.val_score)
        for record in records
        for row in record.rows
        if row.val_score is not None
    ]


def _params(record: Record, row: InlierResult) -> dict[str, Any]:
    params = {**record.proposal.configuration.to_dict(), "inlier": row.inlier}
    return params if row.p is None else params | {"p": row.p}


def varied(rows: Sequence[Row]) -> list[str]:
    """The hyperparameters that have more than one value among rows."""
    return [
        name
        for name in HYPERPARAMETERS
        if len({row.params[name] for row in rows if name in row.params}) > 1
    ]


def thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many rows, the best and the worst among them, evenly by their scores."""
    if len(rows) <= most:
        return list(rows)
    ordered = sorted(rows, key=lambda row: row.score)
    return [ordered[round(k * (len(rows) - 1) / (most - 1))] for k in range(most)]


def rebuilt(rows: Sequence[Row], space: Space) -> Study:
    """An Optuna study in memory with a finished trial for each row."""
    with quiet_optuna():
        study = optuna.create_study(direction="maximize")
    known = _distributions(rows, space)
    study.add_trials(
        create_trial(
            params=row.params,
            distributions={name: known[name] for name in row.params},
            value=row.score,
        )
        for row in rows
    )
    return study


def _distributions(rows: Sequence[Row], space: Space) -> dict[str, BaseDistribution]:
    """A range where the space samples one, else a choice of what was tried."""
    found: dict[str, BaseDistribution] = {}
    ranges = {name: axis for name, axis in axes(space).items() if axis.values is None}
    for name in HYPERPARAMETERS:
        values = {row.params[name] for row in rows if name in row.params}
        if name in ranges and len(values) > 1:
            low, high = min(values), max(values)
            found[name] = FloatDistribution(low, high, log=ranges[name].log)
        elif values:
            found[name] = CategoricalDistribution(sorted(values))
    return found


def parallel(study: Study) -> go.Figure:
    """Parallel coordinates over all hyperparameters, the best lines on top."""
    made = plot_parallel_coordinate(study, params=_present(study), target_name=SCORE)
    *lines, _ = made.data  # the last is a bar of colours
    for line in lines:
        height = line.y[0]  # of the score, from 0 to 1
        line.update(line={"color": shade(height), "width": 1 + height}, opacity=0.35 + 0.6 * height)
    ordered = go.Figure(sorted(lines, key=lambda line: line.y[0]), made.layout)
    dress(ordered, 420)
    ordered.update_layout(plot_bgcolor="rgba(0,0,0,0)", margin={"l": 48, "r": 8, "t": 24, "b": 8})
    ordered.update_shapes(line_color=GRID)
    ordered.update_annotations(font={"color": MUTED, "size": 11}, bgcolor="var(--halo)")
    for annotation in ordered.layout.annotations:
        annotation.text = "no p" if annotation.text == "None" else _plain(annotation.text)
    return ordered


def _present(study: Study) -> list[str]:
    return sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})


def importances(rows: Sequence[Row], space: Space) -> go.Figure:
    """The share of the variance of scores that each hyperparameter explains, by fANOVA.

    What has no p counts as p = 0, since fANOVA takes what all rows have.
    """
    filled = [Row({"p": 0, **row.params}, row.score) for row in thinned(rows, MOST_ROWS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        made = plot_param_importances(
            rebuilt(filled, space),
            evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0),
            params=varied(filled),
            target_name=SCORE,
        )
    dress(made, 280)
    made.update_traces(marker_color=ACCENT, textfont_color=MUTED)
    longest = max((value for bar in made.data for value in bar.x), default=1.0)
    made.update_xaxes(title_text="share of the variance of scores", range=[0, 1.15 * longest])
    return made.update_yaxes(title_text="")


def slice_of(study: Study, name: str) -> go.Figure:
    """Scores over the values of one hyperparameter."""
    made = plot_slice(study, params=[name], target_name=SCORE)
    dress(made, 280)
    made.update_traces(
        marker={"colorscale": SCALE, "size": 7, "line": {"width": 0.5, "color": MUTED}},
        marker_showscale=False,
        hovertemplate=f"{name} %{{x}}<br>score %{{y:.4f}}<br>row %{{marker.color}}<extra></extra>",
    )
    choices = made.layout.xaxis.categoryarray
    if choices is not None:
        texts = [_plain(choice) for choice in choices]
        made.update_xaxes(tickmode="array", tickvals=choices, ticktext=texts)
    elif made.layout.xaxis.type == "log":
        ticks = log_ticks(min(made.data[0].x), max(made.data[0].x))
        made.update_xaxes(tickmode="array", tickvals=ticks, ticktext=[f"{t:.3g}" for t in ticks])
    return made.update_xaxes(title_text=name)


def _plain(choice: str) -> str:
    """A value as a space file has it; Optuna writes it as Python does."""
    return choice.strip("'").removesuffix(".0")


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers, or few of them, or the two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    found = [tick for tick in ticks if low <= tick <= high]
    return found if len(found) > 1 else [low, high]
