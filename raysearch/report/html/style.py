"""Style of charts. Colours are names of CSS variables, which differ in light, dark and print.

`page.css` defines the variables; the script of the page inserts their values.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

INK, MUTED, GRID, ACCENT, SOFT = (
    "var(--ink)",
    "var(--muted)",
    "var(--grid)",
    "var(--accent)",
    "var(--accent-soft)",
)
NORMAL, ANOMALOUS, OTHER = "var(--c0)", "var(--c1)", "var(--c6)"
HUES = tuple(f"var(--c{k})" for k in (0, 1, 2, 3, 4, 5, 7))
"""Colours that colour-blind readers can distinguish."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "pentagon", "x")
SHADES = 8
SCALE = [[k / (SHADES - 1), f"var(--s{k})"] for k in range(SHADES)]
"""Colour scale from low to high values."""
CLEAR = "rgba(0,0,0,0)"

_AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "linecolor": GRID,
    "zerolinecolor": GRID,
    "tickcolor": GRID,
    "tickfont": {"color": MUTED},
    "title": {"font": {"color": MUTED, "size": 13}, "standoff": 10},
    "automargin": True,
    "zeroline": False,
}
_TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "colorway": list(HUES),
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": CLEAR,
            "traceorder": "normal",
        },
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": GRID, "font": {"color": INK}},
        # On a clear page plotly would put the buttons on a dark box.
        "modebar": {"bgcolor": CLEAR, "color": MUTED, "activecolor": INK},
        "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 12}},
        "hovermode": "closest",
    }
)


def shade(share: float) -> str:
    """Return the colour at a share in [0, 1] of the scale."""
    return f"var(--s{min(SHADES - 1, int(share * SHADES))})"


def hue(position: int) -> str:
    """Return the colour of the category at a position."""
    return HUES[position % len(HUES)]


def symbol(position: int) -> str:
    """Return the symbol at a position; categories of one colour differ in it."""
    return SYMBOLS[position // len(HUES) % len(SYMBOLS)]


def figure(traces: Sequence[Any], *, x: str, y: str, height: int = 340, **layout: Any) -> go.Figure:
    """Create a figure with one pair of axes.

    Args:
        traces: traces of the figure.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        height: in px; the width is that of the page.
        layout: further settings of the layout.
    """
    chart = apply_style(go.Figure(list(traces)), height)
    chart.update_xaxes(title_text=x)
    chart.update_yaxes(title_text=y)
    return chart.update_layout(**layout)


def apply_style(chart: go.Figure, height: int) -> go.Figure:
    """Apply the style of the page to a figure."""
    return chart.update_layout(template=_TEMPLATE, height=height, width=None, title=None)
