"""What a page is made of. Sections say it in these; the template alone knows HTML.

All texts are plain: the template escapes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class View:
    """One of several ways to look at a chart: the traces that are shown then."""

    label: str
    traces: tuple[int, ...]


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        name: unlike any other of the page.
        caption: how to read it and what it shows; also read out to who cannot see it.
        views: what can be switched; empty shows everything.
        half: whether two stand side by side where there is room.
        least: width in px below which it is scrolled.
    """

    name: str
    title: str
    figure: go.Figure
    caption: str
    views: tuple[View, ...] = ()
    half: bool = False
    least: int = 0

    kind = "chart"

    @property
    def height(self) -> int:
        """In px."""
        return int(self.figure.layout.height)


@dataclass(frozen=True)
class Link:
    """A cell that leads to another page."""

    text: str
    address: str


Cell = str | Link


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first cell of each names it.

    Attributes:
        numbers: columns that are set flush right, by their position.
        strong: rows that stand out, by their position.
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
    """Names and what they are; `code` sets the values as they are typed."""

    title: str
    rows: Sequence[tuple[str, str]]
    caption: str = ""
    code: bool = False

    kind = "facts"


@dataclass(frozen=True)
class Absent:
    """What cannot be shown, why, and how to get it."""

    title: str
    reason: str

    kind = "absent"


@dataclass(frozen=True)
class Sound:
    """A recording to hear and to see; sound and picture are data URIs."""

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


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; `name` is where links lead."""

    name: str
    title: str
    lead: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Tile:
    """A number that is read first, and what it is."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """All of a page.

    Attributes:
        above: a few words above the title.
        lead: the answer, in a sentence or two.
        notes: what a reader must know before trusting it.
    """

    above: str
    title: str
    lead: str
    tiles: Sequence[Tile]
    notes: Sequence[str]
    sections: Sequence[Section]

    @property
    def charts(self) -> list[Chart]:
        """In their order."""
        return [part for s in self.sections for part in s.parts if isinstance(part, Chart)]
