"""The final test: the frozen configuration on the test IDs."""

from functools import partial
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from raysearch.config import id_order
from raysearch.report.html.official import official_table, threshold_table
from raysearch.report.html.parts import Absent, Chart, Part, Section, Table, draw
from raysearch.report.html.style import ANOMALOUS, INK, MUTED, NORMAL, SOFT, figure, hue
from raysearch.report.wording import name_ids, score
from raysearch.scoring.metrics import harmonic_mean, roc
from raysearch.study.confidence import final_intervals, no_final_interval
from raysearch.study.official import judge_domains
from raysearch.study.results import Results
from raysearch.study.scores import FinalScore

BARS = 30
SPAN = 5.0
"""Limit of a histogram: multiple of the distance from the normal median to the 95 % quantile."""


def final_section(results: Results) -> Section:
    """Return the section with AUC, pAUC, ROC curve and score histogram of every test ID."""
    return Section("final", "Final test", _lead(results), _parts(results))


def _lead(results: Results) -> str:
    ids = results.space.test_keys
    if not ids:
        return "The space file names no test IDs, so the detector meets no recordings of a test."
    return (
        f"The frozen configuration against test {name_ids(ids)}: the figures to quote. The "
        "validation score of the best of many configurations is optimistic, these are not, as long "
        "as the test IDs are opened once."
        + (f" Note: {results.final_note}." if results.final_note else "")
    )


def _parts(results: Results) -> list[Part]:
    if not results.final.ids and not results.scores:
        if not results.space.test_ids:
            return [Absent("No final test", "There are no test IDs.")]
        return [Absent("No final test yet", _reason(results))]
    scores = _by_id(results.scores)
    labelled = {
        product_id: rows
        for product_id, rows in scores.items()
        if {score.label for score in rows} >= {0, 1}
    }
    parts: list[Part] = []
    if results.final.areas:
        parts.append(draw("Every test ID", lambda: _table(results, scores)))
    parts += _official(results, scores)
    if labelled:
        parts.append(draw("ROC curves", lambda: _curves(labelled)))
        parts += [
            draw(f"Scores of ID {product_id}", partial(_histogram, position, product_id, rows))
            for position, (product_id, rows) in enumerate(labelled.items())
        ]
    elif not results.scores:
        reason = (
            "The scores of single test clips are missing, as the run is of an older version. "
            f"`raysearch final {results.folder}` adds them; it opens the test IDs again, which "
            "the ledger notes."
        )
        parts.append(Absent("ROC curves and histograms", reason))
    if unlabelled := sorted(scores.keys() - labelled.keys(), key=id_order):
        reason = (
            f"Test IDs without labels of both kinds: {', '.join(unlabelled)}. Their scores are in "
            "submission/; ground-truth CSVs (--ground-truth DIR) give them curves."
        )
        parts.append(Absent("IDs without a result", reason))
    return parts


def _official(results: Results, by_id: dict[str, list[FinalScore]]) -> list[Part]:
    """Return the tables of the public evaluators, as far as there are labels and domains."""
    parts: list[Part] = []
    official = judge_domains(results.scores, [row.id for row in results.final.ids])
    if official is not None:
        parts.append(draw("Official scores", lambda: official_table(official)))
    if (table := threshold_table(by_id)) is not None:
        parts.append(table)
    return parts


def _reason(results: Results) -> str:
    if results.frozen is None:
        return "The test IDs are opened once, after the run has ended and its winner is frozen."
    return (
        f"`raysearch final {results.folder}` runs it. If it says that none is possible, the data "
        "set has no test clips of these IDs, or the run was started with --no-final."
    )


def _by_id(scores: tuple[FinalScore, ...]) -> dict[str, list[FinalScore]]:
    by_id: dict[str, list[FinalScore]] = {}
    for row in sorted(scores, key=lambda row: id_order(row.id)):
        by_id.setdefault(row.id, []).append(row)
    return by_id


def _table(results: Results, by_id: dict[str, list[FinalScore]]) -> Table:
    rows = []
    final = results.final
    for row in final.ids:
        areas = ["–", "–"] if row.areas is None else [f"{area:.4f}" for area in row.areas]
        rows.append([row.id, *areas, *_decisions(by_id.get(row.id, [])), row.note])
    means = [f"{harmonic_mean(kind):.4f}" for kind in zip(*final.areas.values(), strict=True)]
    rows.append(["harmonic mean", *means, "", "", "", final.note.partition(";")[0]])
    assert results.final_score is not None
    header = ["ID", "AUC", "pAUC", "clips", "anomalies found", "false alarms", "note"]
    if not final.note:
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(
        "Every test ID",
        header,
        rows,
        f"The harmonic mean of all AUCs and pAUCs is {results.final_score:.4f}"
        f"{_interval(results)}. pAUC counts false-"
        "positive rates up to 0.1 and is scaled so that 0.5 is chance. Found anomalies and false "
        "alarms are at the threshold, a quantile of the scores of healthy training clips.",
        numbers=frozenset(range(1, 6)),
        strong=frozenset({len(final.ids)}),
    )


def _interval(results: Results) -> str:
    """Return the interval of the final score in words; empty without clips."""
    if not results.scores:
        return ""
    ids = list(results.final.areas)
    interval = final_intervals(results.scores, ids)["hmean"]
    if interval is None:
        return f" ({no_final_interval(results.scores, ids)})"
    return f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f} over other clips)"


def _decisions(clips: list[FinalScore]) -> list[str]:
    """Return the texts of clips, true alarms and false alarms; empty where unknown."""
    if not clips:
        return ["", "", ""]
    cells = [str(len(clips))]
    for label in (1, 0):
        decisions = [clip.decision for clip in clips if clip.label == label]
        cells.append(
            f"{sum(decisions)} of {len(decisions)} ({np.mean(decisions):.0%})" if decisions else ""
        )
    return cells


def _curves(by_id: dict[str, list[FinalScore]]) -> Chart:
    traces = []
    for position, (product_id, rows) in enumerate(by_id.items()):
        labels, scores = _arrays(rows)
        fpr, tpr = roc(labels, scores)
        traces.append(
            go.Scatter(
                x=fpr.tolist(),
                y=tpr.tolist(),
                mode="lines",
                name=f"ID {escape(product_id)}",
                line={
                    "color": hue(position),
                    "width": 2,
                    "dash": ("solid", "dash", "dot")[position % 3],
                },
                hovertemplate="%{fullData.name}<br>false alarms %{x:.1%}<br>found %{y:.1%}"
                "<extra></extra>",
            )
        )
        traces.append(_operating_point(product_id, rows, position))
    chance = go.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="chance",
        line={"color": MUTED, "dash": "dot", "width": 1},
    )
    chart = figure([chance, *traces], x="false-positive rate", y="true-positive rate", height=300)
    chart.update_xaxes(range=[-0.01, 1.01], tickformat=".0%")
    chart.update_yaxes(range=[-0.01, 1.02], tickformat=".0%")
    chart.add_shape(
        type="rect", x0=0, x1=0.1, y0=0, y1=1, fillcolor=SOFT, line_width=0, layer="below"
    )
    chart.add_annotation(
        x=0.05,
        y=0.03,
        yanchor="bottom",
        text="pAUC",
        textangle=-90,
        showarrow=False,
        font_color=INK,
    )
    caption = (
        "Each curve is a test ID: how many anomalies are found (upwards) at how many false alarms "
        "(to the right). The shaded strip, up to 10 % false alarms, is what pAUC counts. A ring "
        "is where the threshold of the detector stands."
    )
    return Chart("roc", "ROC curves", chart, caption, half=True)


def _operating_point(product_id: str, rows: list[FinalScore], position: int) -> go.Scatter:
    labels, _ = _arrays(rows)
    decisions = np.array([row.decision for row in rows])
    return go.Scatter(
        x=[float(decisions[labels == 0].mean())],
        y=[float(decisions[labels == 1].mean())],
        mode="markers",
        showlegend=False,
        marker={
            "color": hue(position),
            "size": 11,
            "symbol": "circle-open",
            "line": {"width": 2.5},
        },
        hovertemplate=f"threshold of ID {escape(product_id)}<br>false alarms %{{x:.1%}}<br>found "
        "%{y:.1%}<extra></extra>",
    )


def _histogram(position: int, product_id: str, rows: list[FinalScore]) -> Chart:
    labels, scores = _arrays(rows)
    threshold = rows[0].threshold
    low, high = _score_range(labels, scores, threshold)
    edges = np.linspace(low, high, BARS + 1)
    traces = [
        go.Bar(
            x=((edges[1:] + edges[:-1]) / 2).tolist(),
            y=np.histogram(np.clip(scores[labels == label], low, high), edges)[0].tolist(),
            width=float(edges[1] - edges[0]),
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            opacity=0.62,
            hovertemplate="%{y} " + name + " clips<br>score about %{x:.4g}<extra></extra>",
        )
        for label, name, colour in ((0, "normal", NORMAL), (1, "anomalous", ANOMALOUS))
    ]
    chart = figure(traces, x="anomaly score", y="clips", height=300, barmode="overlay", bargap=0)
    chart.add_vline(threshold, line={"color": INK, "width": 1.5, "dash": "dash"})
    detected, alarms = _decisions(rows)[1:]
    caption = (
        f"Scores of {int((labels == 0).sum())} normal and {int(labels.sum())} anomalous clips. "
        f"Right of the dashed threshold, {score(threshold)}, a clip is called anomalous: "
        f"{detected} anomalies are found at {alarms} false alarms. The outermost bars "
        "hold the clips beyond."
    )
    return Chart(f"scores-{position}", f"Scores of ID {product_id}", chart, caption, half=True)


def _score_range(
    labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> tuple[float, float]:
    """Return the limits of a histogram, so that outliers do not compress it."""
    normal = scores[labels == 0]
    centre = float(np.median(normal))
    limit = SPAN * max(float(np.quantile(normal, 0.95)), threshold, centre + 1e-9) - SPAN * centre
    low = max(float(scores.min()), centre - limit)
    high = min(max(float(scores.max()), threshold), centre + limit)
    return low, high if high > low else low + 1


def _arrays(rows: list[FinalScore]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (C,) and scores (C,) of the labelled clips."""
    labelled = [row for row in rows if row.label is not None]
    return np.array([row.label for row in labelled]), np.array([row.score for row in labelled])
