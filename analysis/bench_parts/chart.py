"""Bar chart of the ratios of bench.py, as SVG."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench_parts.rows import Row

LINE, LEFT, WIDTH, RIGHT = 26, 190, 420, 70
"""Height of a bar with its gap; widths of the names, of the widest bar, and of the figures."""


def write_chart(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write the ratios of all duels as bars from 1 on, on a logarithmic axis."""
    ratios = [(row.part, row.ratio) for row in rows if row.ratio is not None]
    logs = [math.log(ratio) for _, ratio in ratios]
    low, high = min(0.0, *logs, 0.0), max(0.1, *logs, 0.1)
    height = LINE * (len(ratios) + 3)
    total = LEFT + WIDTH + RIGHT

    def x(log: float) -> float:
        return LEFT + WIDTH * (log - low) / (high - low)

    bars = [
        _bar(number, name, ratio, sorted((x(0.0), x(math.log(ratio)))))
        for number, (name, ratio) in enumerate(ratios, start=1)
    ]
    bottom = LINE * (len(ratios) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{total}" height="{height}" fill="white"/>',
        f'<text x="8" y="18" font-size="11">{escape(title)}</text>',
        *bars,
        f'<path d="M {x(0.0):.1f} {LINE} V {bottom}" stroke="black"/>',
        f'<text x="{x(0.0):.1f}" y="{bottom + 16}" text-anchor="middle" font-size="11">'
        "1 = the plain recipe's speed (logarithmic axis)</text>",
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n")


def _bar(number: int, name: str, ratio: float, ends: Sequence[float]) -> str:
    top, (start, end) = LINE * number + 6, ends
    colour = "#2a6f97" if ratio >= 1 else "#c1121f"
    return (
        f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{start:.1f}" y="{top}" width="{end - start:.1f}" height="16" fill="{colour}"/>'
        f'<text x="{end + 6:.1f}" y="{top + 13}">{ratio:.2f} ×</text>'
    )
