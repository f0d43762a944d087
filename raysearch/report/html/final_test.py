"""The final test: what the frozen configuration made of product IDs that the search never saw."""

from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from raysearch.config import id_order
from raysearch.report.html.parts import Absent, Chart, Part, Section, Table
from raysearch.report.html.results import Results
from raysearch.report.html.style import ANOMALOUS, INK, MUTED, NORMAL, SOFT, figure, hue
from raysearch.report.wording import score
from raysearch.scoring.metrics import harmonic_mean, roc
from raysearch.study.scores import FinalScore

BARS = 30
SPAN = 5.0
"""A histogram reaches so many times as far from the normal median as most normal clips do."""


def final_section(results: Results) -> Section:
    """AUC and pAUC of every test ID, its curve, and where normal and anomalous clips lie."""
    return Section("final", "Final test", _lead(results), _parts(results))


def _lead(results: Results) -> str:
    ids = ", ".join(results.space.test_ids)
    return (
        f"The frozen configuration against test IDs {ids}: the figures to quote. The validation "
        "score of the best of many configurations is optimistic, these are not, as long as the "
        "test IDs are opened once."
    )


def _parts(results: Results) -> list[Part]:
    if not results.final and not results.scores:
        return [Absent("No final test yet", _reason(results))]
    clips = _by_id(results.scores)
    judged = {i: rows for i, rows in clips.items() if {r.label for r in rows} >= {0, 1}}
    parts: list[Part] = []
    if results.final:
        parts.append(_table(results, clips))
    if judged:
        parts.append(_curves(judged))
        parts += [_histogram(k, *each) for k, each in enumerate(judged.items())]
    elif not results.scores:
        reason = (
            "This run is from before the scores of single test clips were kept. "
            f"`raysearch final {results.folder}` keeps them; it opens the test IDs again, which "
            "the ledger notes."
        )
        parts.append(Absent("ROC curves and histograms", reason))
    if missing := sorted(clips.keys() - judged.keys(), key=id_order):
        reason = (
            f"Test IDs without labels of both kinds: {', '.join(missing)}. Their scores are in "
            "submission/; ground-truth CSVs (--ground-truth DIR) give them curves."
        )
        parts.append(Absent("IDs without a result", reason))
    return parts


def _reason(results: Results) -> str:
    if results.held is None:
        return "The test IDs are opened once, when the run has come to its end and is frozen."
    return (
        f"`raysearch final {results.folder}` takes it. If it says that none is possible, the data "
        "set has no test clips of these IDs, or the run was told --no-final."
    )


def _by_id(scores: tuple[FinalScore, ...]) -> dict[str, list[FinalScore]]:
    found: dict[str, list[FinalScore]] = {}
    for one in sorted(scores, key=lambda one: id_order(one.id)):
        found.setdefault(one.id, []).append(one)
    return found


def _table(results: Results, clips: dict[str, list[FinalScore]]) -> Table:
    rows = []
    for one in results.final:
        found = clips.get(one.id, [])
        rows.append([one.id, f"{one.auc:.4f}", f"{one.pauc:.4f}", *_decisions(found)])
    aucs, paucs = [one.auc for one in results.final], [one.pauc for one in results.final]
    means = [f"{harmonic_mean(aucs):.4f}", f"{harmonic_mean(paucs):.4f}"]
    rows.append(["harmonic mean", *means, "", "", ""])
    assert results.final_score is not None
    return Table(
        "Every test ID",
        ["ID", "AUC", "pAUC", "clips", "anomalies found", "false alarms"],
        rows,
        f"The harmonic mean of all AUCs and pAUCs is {results.final_score:.4f}. pAUC counts false-"
        "positive rates up to 0.1 and is scaled so that 0.5 is chance. Found anomalies and false "
        "alarms are at the threshold, which healthy training clips alone set.",
        numbers=frozenset(range(1, 6)),
        strong=frozenset({len(results.final)}),
    )


def _decisions(clips: list[FinalScore]) -> list[str]:
    """Clips, found anomalies and false alarms, in words; empty where they are not known."""
    if not clips:
        return ["", "", ""]
    cells = [str(len(clips))]
    for label in (1, 0):
        made = [clip.decision for clip in clips if clip.label == label]
        cells.append(f"{sum(made)} of {len(made)} ({np.mean(made):.0%})" if made else "")
    return cells


def _curves(judged: dict[str, list[FinalScore]]) -> Chart:
    traces = []
    for place, (identity, rows) in enumerate(judged.items()):
        labels, scores = _arrays(rows)
        fpr, tpr = roc(labels, scores)
        traces.append(
            go.Scatter(
                x=fpr.tolist(),
                y=tpr.tolist(),
                mode="lines",
                name=f"ID {escape(identity)}",
                line={"color": hue(place), "width": 2, "dash": ("solid", "dash", "dot")[place % 3]},
                hovertemplate="%{fullData.name}<br>false alarms %{x:.1%}<br>found %{y:.1%}"
                "<extra></extra>",
            )
        )
        traces.append(_working_point(identity, rows, place))
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


def _working_point(identity: str, rows: list[FinalScore], place: int) -> go.Scatter:
    labels, _ = _arrays(rows)
    made = np.array([row.decision for row in rows])
    return go.Scatter(
        x=[float(made[labels == 0].mean())],
        y=[float(made[labels == 1].mean())],
        mode="markers",
        showlegend=False,
        marker={"color": hue(place), "size": 11, "symbol": "circle-open", "line": {"width": 2.5}},
        hovertemplate=f"threshold of ID {escape(identity)}<br>false alarms %{{x:.1%}}<br>found "
        "%{y:.1%}<extra></extra>",
    )


def _histogram(place: int, identity: str, rows: list[FinalScore]) -> Chart:
    labels, scores = _arrays(rows)
    threshold = rows[0].threshold
    low, high = _reach(labels, scores, threshold)
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
    found, alarms = _decisions(rows)[1:]
    caption = (
        f"Scores of {int((labels == 0).sum())} normal and {int(labels.sum())} anomalous clips. "
        f"Right of the dashed threshold, {score(threshold)}, a clip is called anomalous: {found} "
        f"anomalies are found at {alarms} false alarms. The outermost bars hold what lies beyond."
    )
    return Chart(f"scores-{place}", f"Scores of ID {identity}", chart, caption, half=True)


def _reach(
    labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> tuple[float, float]:
    """Where a histogram begins and ends: a few scores may lie anywhere, and hide all others."""
    normal = scores[labels == 0]
    centre = float(np.median(normal))
    most = SPAN * max(float(np.quantile(normal, 0.95)), threshold, centre + 1e-9) - SPAN * centre
    low = max(float(scores.min()), centre - most)
    high = min(max(float(scores.max()), threshold), centre + most)
    return low, high if high > low else low + 1


def _arrays(rows: list[FinalScore]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels (C,) and scores (C,) of the labelled clips."""
    known = [row for row in rows if row.label is not None]
    return np.array([row.label for row in known]), np.array([row.score for row in known])
