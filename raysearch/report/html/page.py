"""Pages of HTML that need nothing but themselves: no network, no other file."""

import json
import re
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs
from upath import UPath

from raysearch import __version__
from raysearch.report.html.cost import cost_section
from raysearch.report.html.facts import facts_section
from raysearch.report.html.final_test import final_section
from raysearch.report.html.parts import Chart, Page
from raysearch.report.html.results import Results, read_results
from raysearch.report.html.search import search_section
from raysearch.report.html.verdict import above, lead, lead_section, notes, tiles, title
from raysearch.report.html.winner import winner_section
from raysearch.storage import write_text

NAME = "report.html"
_TYPED = re.compile(r"`([^`]+)`")


def write_report(folder: UPath) -> UPath:
    """Writes `report.html` of a run into its folder.

    Raises:
        UserError: it holds no study, or one that this version cannot read.
    """
    write_text(folder / NAME, render(study_page(read_results(folder))))
    return folder / NAME


def study_page(results: Results) -> Page:
    """The page of a study: first what is decided by, then what explains it."""
    return Page(
        above(results),
        title(results),
        lead(results),
        tiles(results),
        notes(results),
        [
            lead_section(results),
            final_section(results),
            search_section(results),
            winner_section(results),
            cost_section(results),
            facts_section(results),
        ],
    )


def render(page: Page) -> str:
    """A page as HTML. The same page gives the same text."""
    return _template().render(
        page=page,
        charts=_safe(f"[{','.join(_json(chart) for chart in page.charts)}]"),
        plotly=get_plotlyjs(),
        css=_asset("page.css"),
        script=_asset("page.js"),
        version=__version__,
    )


def _json(chart: Chart) -> str:
    views = json.dumps([view.traces for view in chart.views])
    name = json.dumps(chart.name)
    return f'{{"name":{name},"views":{views},"figure":{chart.figure.to_json()}}}'


def _safe(text: str) -> str:
    """JSON that no content of it can end the script element of."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("raysearch.report.html"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["words"] = _words
    return environment.get_template("page.html")


def _words(text: str) -> Markup:
    """A text of ours, in which what is typed stands in `backticks`."""
    return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(text))))


def _asset(name: str) -> str:
    return (resources.files("raysearch.report.html") / "templates" / name).read_text("utf-8")
