"""Clips on the plane of their embeddings, coloured by product ID, label or machine type."""

from collections.abc import Callable, Hashable, Sequence
from html import escape

import plotly.graph_objects as go

from raysearch.report.clips.shown import Part, ShownClip
from raysearch.report.html.style import ANOMALOUS, NORMAL, OTHER, hue, symbol
from raysearch.report.wording import score

KINDS = ("normal", "anomalous")
"""Names of the labels 0 and 1."""


def by_product(clips: Sequence[ShownClip]) -> list[go.Scatter]:
    """Return a cloud for each product ID of the target, and one for other machine types."""
    machine, other = _split(clips)
    return [_cloud("other machine types", other, OTHER), *_clouds(machine, _identity)]


def by_label(clips: Sequence[ShownClip]) -> list[go.Scatter]:
    """Return a cloud for normal, one for anomalous, and two for unlabelled clips."""
    _, other = _split(clips)
    validation = [clip for clip in clips if clip.part is Part.VALIDATION]
    held_out = [clip for clip in clips if clip.part is Part.HELD_OUT]
    normal = [clip for clip in validation if not clip.label]
    anomalous = [clip for clip in validation if clip.label]
    return [
        _cloud("other machine types", other, OTHER),
        _cloud("held-out training", held_out, "var(--c5)"),
        _cloud("normal", normal, NORMAL),
        _cloud("anomalous", anomalous, ANOMALOUS, "diamond"),
    ]


def by_machine(clips: Sequence[ShownClip]) -> list[go.Scatter]:
    """Return a cloud for each machine type, the target on top."""
    machine, other = _split(clips)
    target = _cloud(machine[0].machine, machine, hue(0)) if machine else None
    return [*_clouds(other, _machine, 1), *([target] if target else [])]


def hide_scales(chart: go.Figure) -> go.Figure:
    """Remove ticks and grid of a figure whose positions have no unit."""
    chart.update_xaxes(showticklabels=False, showgrid=False)
    return chart.update_yaxes(showticklabels=False, showgrid=False)


def _split(clips: Sequence[ShownClip]) -> tuple[list[ShownClip], list[ShownClip]]:
    """Split clips into those of the target machine type and those of others."""
    other = [clip for clip in clips if clip.part is Part.OTHER]
    return [clip for clip in clips if clip.part is not Part.OTHER], other


def _identity(clip: ShownClip) -> str:
    return f"ID {clip.id}"


def _machine(clip: ShownClip) -> str:
    return clip.machine


def _clouds(
    clips: Sequence[ShownClip], group: Callable[[ShownClip], Hashable], first: int = 0
) -> list[go.Scatter]:
    """Return a trace for each group, in order of first appearance."""
    groups: dict[Hashable, list[ShownClip]] = {}
    for clip in clips:
        groups.setdefault(group(clip), []).append(clip)
    return [
        _cloud(str(name), members, hue(first + k), symbol(first + k))
        for k, (name, members) in enumerate(groups.items())
    ]


def _cloud(name: str, clips: Sequence[ShownClip], colour: str, shape: str = "circle") -> go.Scatter:
    return go.Scatter(
        x=[clip.x for clip in clips],
        y=[clip.y for clip in clips],
        mode="markers",
        name=escape(name),
        marker={"color": colour, "symbol": shape, "size": 6, "opacity": 0.75},
        text=[_hover_text(clip) for clip in clips],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover_text(clip: ShownClip) -> str:
    lines = [clip.clip, f"{clip.machine}, ID {clip.id}, {clip.part}"]
    if clip.score is not None and clip.threshold is not None:
        kind = KINDS[clip.label]
        lines.append(f"{kind}, score {score(clip.score)}, threshold {score(clip.threshold)}")
    return "<br>".join(map(escape, lines))
