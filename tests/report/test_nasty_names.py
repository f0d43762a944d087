"""Names of machine types, runs and files that mean something to a terminal, a table or a shell."""

import io
import shlex
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from upath import UPath

from raysearch.cli.options import echo
from raysearch.data.index import Clip, Index
from raysearch.errors import printable
from raysearch.report.compare import Comparison, show
from raysearch.report.data_summary import show_counts
from raysearch.report.live_table import render_search
from raysearch.report.progress import say
from raysearch.report.tables import write_people
from raysearch.report.wording import again
from raysearch.study.space import check_space
from tests.command import TINY

NASTY = ("a\x1b]0;title\x07", "a\nb: c", "[red]valve[/red]", "a b; rm -rf ~", "-x", "=1+1", "a|b")
CONTROLS = "\x1b\x07\r\x9b"


def terminal() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=True, color_system=None, width=200), text


@pytest.mark.parametrize("name", NASTY)
def test_no_control_character_reaches_the_terminal(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console, text = terminal()
    say(console, name)
    console.print(render_search({}, {}, "", outcome=[name]))
    clip = Clip(name, name, "train", "source", 0, Path("x.wav"))
    show_counts(Index(UPath("/data"), (clip,)), console)
    echo(name)
    shown = text.getvalue() + capsys.readouterr().out
    assert not set(CONTROLS) & set(shown)
    if "[red]" in name:
        assert shown.count(name) == 5


@pytest.mark.parametrize("name", NASTY)
def test_a_comparison_keeps_its_lines_and_shows_names_as_they_are(name: str) -> None:
    console, text = terminal()
    rows = {"method": (name, "proposed"), "λ": ("1", name)}
    show(Comparison((f"runs/{name}", "runs/b"), rows, (), ("a caveat",)), console)
    lines = text.getvalue().splitlines()
    assert len(lines) == 4
    assert not set(CONTROLS) & set(text.getvalue())
    assert text.getvalue().count(printable(name)) == 3


@pytest.mark.parametrize("name", NASTY)
def test_a_printed_command_names_the_machine_as_one_argument(name: str) -> None:
    command = again(name, check_space(TINY, "space"))
    assert "\n" not in command
    assert yaml.safe_load(f"# {command}\nkey: value\n") == {"key": "value"}
    arguments = shlex.split(command)
    assert arguments[:2] == ["raysearch", "run"]
    assert arguments[-4:] == ["--space", "best_config.yaml", "--name", "again"]
    assert len(arguments) == 8


@pytest.mark.parametrize("name", NASTY)
def test_a_table_keeps_its_cells(name: str, tmp_path: Path) -> None:
    paths = write_people(UPath(tmp_path / "table"), ["m", name], [[name, "1"]], notes=[name])
    markdown, latex = (path.read_text() for path in paths)
    lines = markdown.splitlines()
    assert [line.replace(r"\|", "").count("|") for line in lines[:3]] == [3, 3, 3]
    assert "|" not in latex.partition(r"\end{tabular}")[0]
    comments = latex[latex.index(r"\end{tabular}") :].splitlines()[1:]
    assert [line.startswith("% ") for line in comments] == [True]
