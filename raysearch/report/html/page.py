"""Self-contained HTML pages: no network, no other file."""

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
from raysearch.report.html.machines import machines_section
from raysearch.report.html.members import members_section
from raysearch.report.html.parts import Chart, Page
from raysearch.report.html.search import search_section
from raysearch.report.html.verdict import breadcrumb, lead, lead_section, notes, tiles, title
from raysearch.report.html.winner import winner_section
from raysearch.storage import write_text
from raysearch.study.results import Results, read_results

NAME = "report.html"
_BACKTICKS = re.compile(r"`([^`]+)`")


def write_report(folder: UPath) -> UPath:
    """Write `report.html` of a run into its folder.

    Raises:
        UserError: the folder holds no study, or this version cannot read the study.
    """
    write_text(folder / NAME, render(study_page(read_results(folder))))
    return folder / NAME


def study_page(results: Results) -> Page:
    """Return the page of a study: first the results, then their explanation."""
    if results.space.members:
        sections = [members_section(results), final_section(results), winner_section(results)]
    else:
        shared = results.space.is_shared
        sections = [
            lead_section(results),
            final_section(results),
            search_section(results),
            machines_section(results) if shared else winner_section(results),
            cost_section(results),
        ]
    return Page(
        breadcrumb(results),
        title(results),
        lead(results),
        tiles(results),
        notes(results),
        [*sections, facts_section(results)],
    )


def render(page: Page) -> str:
    """Render a page as HTML; deterministic."""
    return _template().render(
        page=page,
        charts=_escape_json(f"[{','.join(_json(chart) for chart in page.charts)}]"),
        plotly=get_plotlyjs(),
        css=_asset("page.css"),
        script=_asset("page.js"),
        version=__version__,
    )


def _json(chart: Chart) -> str:
    views = json.dumps([view.traces for view in chart.views])
    name = json.dumps(chart.name)
    return f'{{"name":{name},"views":{views},"figure":{chart.figure.to_json()}}}'


def _escape_json(text: str) -> str:
    """Return JSON without characters that could end its script element."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("raysearch.report.html"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["code_spans"] = _code_spans
    return environment.get_template("page.html")


def _code_spans(text: str) -> Markup:
    """Mark the `backticks` of a text as code, and escape the rest."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # nosec B704


def _asset(name: str) -> str:
    return (resources.files("raysearch.report.html") / "templates" / name).read_text("utf-8")
