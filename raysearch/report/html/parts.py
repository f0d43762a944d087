"""Building blocks of a page. Sections consist of them; only the template contains HTML.

All texts are plain text: the template escapes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from raysearch.errors import describe


@dataclass(frozen=True)
class View:
    """A view of a chart: the traces that a button shows."""

    label: str
    traces: tuple[int, ...]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        name: unique in the page.
        caption: explanation of the chart; also its text for screen readers.
        views: views to choose from; empty shows all traces.
        half: half of the page's width where there is room.
        min_width: width in px below which the chart scrolls.
    """

    name: str
    title: str
    figure: go.Figure
    caption: str
    views: tuple[View, ...] = ()
    half: bool = False
    min_width: int = 0

    kind = "chart"

    @property
    def height(self) -> int:
        """Height in px."""
        return int(self.figure.layout.height)


@dataclass(frozen=True)
class Link:
    """A cell that links to another page."""

    text: str
    address: str


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row is its header.

    Attributes:
        numbers: positions of right-aligned columns.
        strong: positions of highlighted rows.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    numbers: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()

    kind = "table"


@dataclass(frozen=True)
class Facts:
    """Pairs of name and value; `code` sets the values in a fixed-width font."""

    title: str
    rows: Sequence[tuple[str, str]]
    caption: str = ""
    code: bool = False

    kind = "facts"


@dataclass(frozen=True)
class Absent:
    """A part without data: the reason and how to get the data."""

    title: str
    reason: str

    kind = "absent"


@dataclass(frozen=True)
class Sound:
    """A recording; sound and picture (spectrogram) are data URIs."""

    title: str
    verdict: str
    picture: str
    alt: str
    sound: str


@dataclass(frozen=True)
class Sounds:
    """Recordings, side by side where there is room."""

    title: str
    sounds: Sequence[Sound]
    caption: str

    kind = "sounds"


Part = Chart | Table | Facts | Absent | Sounds


def draw(title: str, make: Callable[[], Part]) -> Part:
    """Make a part; one that cannot be drawn says so in its place and costs no other.

    Args:
        title: of the part that cannot be drawn.
        make: makes the part.
    """
    try:
        return make()
    except Exception as error:
        return Absent(title, f"This part cannot be drawn: {describe(error)}.")


@dataclass(frozen=True)
class Section:
    """A heading with its parts; `name` is the target of links."""

    name: str
    title: str
    lead: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Tile:
    """A key figure with its label."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        breadcrumb: line above the title.
        lead: summary of the result, in one or two sentences.
        notes: caveats of the result.
    """

    breadcrumb: str
    title: str
    lead: str
    tiles: Sequence[Tile]
    notes: Sequence[str]
    sections: Sequence[Section]

    @property
    def charts(self) -> list[Chart]:
        """Charts of all sections, in order."""
        return [part for s in self.sections for part in s.parts if isinstance(part, Chart)]
