"""One page over all studies, and a page for each."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.html.overview import overview_page, write_overview, write_reports
from raysearch.report.html.parts import Absent, Chart, Link, Table
from raysearch.storage import to_path
from raysearch.study.results import read_results
from tests import runs


def fill(out: UPath) -> None:
    """Create a finished study, a running study and a study without ended trials."""
    valve = runs.begin(out / "valve")
    runs.add(valve, runs.records())
    runs.conclude(valve)
    runs.take_final_test(valve, runs.final_scores())
    runs.add(runs.begin(out / "fan-1", machine="fan"), runs.records(1))
    runs.begin(out / "pump", machine="pump")


def test_a_folder_of_runs_has_a_page_for_each_and_one_over_all(folder: UPath) -> None:
    fill(folder)
    names = [str(path.relative_to(folder)) for path in write_reports(folder)]
    pages = ["fan-1/report.html", "pump/report.html", "valve/report.html"]
    assert names == [*pages, "report.html"]
    html = (folder / "report.html").read_text("utf-8")
    for page in pages:
        assert f'href="{page}"' in html


def test_a_run_has_its_own(tmp_path: Path) -> None:
    fill(to_path(tmp_path))
    assert write_reports(to_path(tmp_path / "valve")) == [
        to_path(tmp_path / "valve" / "report.html")
    ]
    assert not (tmp_path / "report.html").exists()


def test_the_page_over_all_can_be_drawn_alone(tmp_path: Path) -> None:
    fill(to_path(tmp_path))
    assert write_overview(to_path(tmp_path)) == to_path(tmp_path / "report.html")
    assert not (tmp_path / "valve" / "report.html").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_without_runs_is_refused(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "runs" / "notes").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no study"):
        write_reports(to_path(tmp_path / "runs"))


def test_studies_stand_in_the_papers_order_with_their_states(tmp_path: Path) -> None:
    fill(to_path(tmp_path))
    all_results = [read_results(to_path(tmp_path / name)) for name in ("valve", "pump", "fan-1")]
    page = overview_page(to_path(tmp_path), all_results)
    chart, table = page.sections[0].parts
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [
        Link("fan-1 (fan)", "fan-1/report.html"),
        Link("pump", "pump/report.html"),
        Link("valve", "valve/report.html"),
    ]
    assert [row[1] for row in table.rows] == ["provisional", "no result yet", "finished"]
    final_score = all_results[0].final_score
    assert final_score is not None
    final = f"{final_score:.4f}"
    assert table.rows[2][6] == final
    assert str(table.rows[2][5]).startswith("~ +")
    winners, results = page.sections[1].parts
    assert isinstance(winners, Table)
    assert isinstance(results, Table)
    assert list(winners.header) == ["parameter", "valve"]
    assert float(str(results.rows[0][1])) == pytest.approx(100 * float(final), abs=0.01)


def test_the_reference_stands_beside_every_winner(tmp_path: Path) -> None:
    fill(to_path(tmp_path))
    results = [
        replace(read_results(to_path(tmp_path / name)), reference=reference, final_reference=there)
        for name, reference, there in (("valve", 0.71, 0.63), ("fan-1", 0.5, None))
    ]
    chart, table = overview_page(to_path(tmp_path), results).sections[0].parts
    assert isinstance(chart, Chart)
    assert isinstance(table, Table)
    columns = [k for k, name in enumerate(table.header) if str(name).startswith("reference")]
    assert [[row[k] for k in columns] for row in table.rows] == [
        ["0.5000", "–"],
        ["0.7100", "0.6300"],
    ]
    markers = {trace.name: list(trace.x) for trace in chart.figure.data}
    assert markers["its reference"] == [0.5, 0.71]
    assert markers["reference there"] == [None, 0.63]


class Links(HTMLParser):
    """The addresses of the links of a page, and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for key, value in attrs if (tag, key) == ("a", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


@pytest.mark.parametrize(
    "name",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "a#b",
        "100%41",
        'a"onclick="alert(1)',
        "a?b=c",
        "<script>alert(1)<",
        "a\nb",
        "..x",
        "µ ♪",
    ],
)
def test_a_link_leads_to_the_study_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    study = runs.begin(to_path(tmp_path / "plain"))
    runs.add(study, runs.records(1))
    runs.conclude(study)
    write_overview(to_path(tmp_path))
    plain = Links((tmp_path / "report.html").read_text("utf-8"))
    (tmp_path / "plain").rename(tmp_path / name)
    page = Links(write_overview(to_path(tmp_path)).read_text("utf-8"))
    [address] = [link for link in page.addresses if not link.startswith("#")]
    # As a browser resolves the link, on the page itself and nowhere else.
    resolved = urlsplit(urljoin("file:///runs/report.html", address))
    assert (resolved.scheme, resolved.query, resolved.fragment) == ("file", "", "")
    assert unquote(resolved.path) == f"/runs/{name}/report.html"
    assert any(name.split("\n")[0] in text for text in page.text)
    assert page.scripts == plain.scripts


def test_before_any_study_has_ended_there_are_no_tables(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "valve"))
    page = overview_page(to_path(tmp_path), [read_results(study.path)])
    [missing] = page.sections[1].parts
    assert isinstance(missing, Absent)
    assert page.charts == []
