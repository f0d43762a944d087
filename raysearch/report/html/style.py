"""How charts look. Colours are names of CSS variables, so light, dark and print have their own.

The page's script puts in what the variables are; `page.css` says what they are.
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
"""Told apart by colour-blind people, too."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "pentagon", "x")
SHADES = 8
SCALE = [[k / (SHADES - 1), f"var(--s{k})"] for k in range(SHADES)]
"""From little to much."""
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
        "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 12}},
        "hovermode": "closest",
    }
)


def shade(share: float) -> str:
    """The colour of a share in [0, 1] of a scale."""
    return f"var(--s{min(SHADES - 1, int(share * SHADES))})"


def hue(position: int) -> str:
    """The colour of one of several things of a kind."""
    return HUES[position % len(HUES)]


def symbol(position: int) -> str:
    """Its symbol, so that what shares a colour differs."""
    return SYMBOLS[position // len(HUES) % len(SYMBOLS)]


def figure(traces: Sequence[Any], *, x: str, y: str, height: int = 340, **layout: Any) -> go.Figure:
    """A figure of one pair of axes.

    Args:
        traces: what is drawn.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        height: in px; the width is the page's.
        layout: anything more.
    """
    made = dress(go.Figure(list(traces)), height)
    made.update_xaxes(title_text=x)
    made.update_yaxes(title_text=y)
    return made.update_layout(**layout)


def dress(made: go.Figure, height: int) -> go.Figure:
    """Gives a figure of another's making the page's looks."""
    return made.update_layout(template=_TEMPLATE, height=height, width=None, title=None)
