"""What the doctor finds, and what it says of it."""

import io
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from raysearch.backend.resources import Cluster, Node
from raysearch.cli.disks import Findings
from raysearch.cli.doctor import Examination, examine, problems, show
from raysearch.cli.exposures import exposures
from raysearch.study.manifest import library_versions
from tests.command import raysearch

VERSIONS = dict.fromkeys(library_versions(), "1.0")
WELL = Examination("host1", VERSIONS, ("H100",), 1, 1000.0, 10**12, "/cache", "", "")
NOW = (999.0, 1001.0)
JOINED = Cluster("10.0.0.1:6379", "http://127.0.0.1:8265", (Node(4),))


def hosts(*others: Examination | None) -> dict[str, Examination | None]:
    examinations: dict[str, Examination | None] = {
        "host1": WELL,
        "host2": replace(WELL, host="host2"),
    }
    return examinations | {
        f"host{number}": examination for number, examination in enumerate(others, 3)
    }


def test_machines_that_are_well_give_no_line() -> None:
    assert problems(hosts(), NOW) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"versions": VERSIONS | {"torch": "0.9"}}, "host3: torch 0.9, the others have 1.0"),
        ({"versions": VERSIONS | {"timm": ""}}, "host3: timm is not installed"),
        ({"clock": 1900.0}, "host3: its clock is +900 s away from ours; start its NTP service"),
        ({"findings": Findings(("no room; set X",), ("a note",))}, "host3: no room; set X"),
        ({"gpus": ()}, "host3: torch sees 0 of 1 GPUs: its driver is too old for torch 1.0"),
        ({"data": "/data does not exist"}, "host3: no recordings: /data does not exist; --data"),
        ({"out": "cannot write to /out: full"}, "host3: cannot write to /out: full; --out takes"),
    ],
)
def test_each_fault_is_one_line_with_the_machine_and_the_way_out(
    change: dict[str, object], line: str
) -> None:
    lines = problems(hosts(replace(WELL, **change)), NOW)  # type: ignore[arg-type]
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_no_control_character_of_a_machine_reaches_the_terminal() -> None:
    odd = "a\x1b]0;title\x07[red]\r"
    change = replace(WELL, host=odd, gpus=(odd,), data=f"{odd} away", cache=odd, free=1)
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system=None, width=300)
    examinations = {"host1": WELL, odd: change, f"{odd}2": None}
    show(examinations, problems(examinations, NOW), console)
    shown = text.getvalue()
    assert not set("\x1b\x07\r") & set(shown)
    assert shown.count(r"a\x1b]0;title\x07[red]\r") >= 6
    assert len(shown.splitlines()) == 6 + len(problems(examinations, NOW))


def test_a_silent_machine_is_named() -> None:
    (line,) = problems(hosts(None), NOW)
    assert line.startswith("host3 does not answer, or cannot import raysearch")


def test_a_real_machine_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "not" / "yet"))
    examination = examine(tmp_path, tmp_path)
    assert all(examination.versions.values())
    assert (examination.data, examination.out) == ("", "")
    assert examination.free > 0
    assert list(tmp_path.iterdir()) == []
    missing = examine(tmp_path / "nothing", tmp_path)
    assert "does not exist" in missing.data
    (tmp_path / "file").write_text("")
    assert "cannot write to" in examine(tmp_path, tmp_path / "file").out


@pytest.mark.parametrize("variable", ["RAY_AUTH_TOKEN_PATH", "HOME"])
def test_ray_on_this_machine_is_closed_but_its_user_s_token_may_be_open(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / ".ray" / "auth_token"
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv(variable, str(tmp_path if variable == "HOME" else token))
    local = Cluster("", "http://127.0.0.1:8265", (Node(4),))
    assert exposures(local) == []
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)  # as Ray writes it
    assert exposures(local) == [f"{token} can be read by others: chmod 600 {token}"]
    token.chmod(0o600)
    assert exposures(local) == []


class Dashboard(BaseHTTPRequestHandler):
    """A dashboard that accepts all requests if open, else only those with a token."""

    open = True

    def do_GET(self) -> None:
        self.send_response(200 if self.open or "Authorization" in self.headers else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def dashboard() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_open_cluster_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dashboard: str
) -> None:
    token = tmp_path / "auth_token"
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    # What counts is what the cluster does, not what this shell says.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    joined = replace(JOINED, dashboard=dashboard)
    lines = exposures(joined)
    assert lines[0].startswith("the cluster asks for no token")
    assert lines[1:] == [f"{token} can be read by others: chmod 600 {token}"]
    token.chmod(0o600)
    monkeypatch.setattr(Dashboard, "open", False)
    assert exposures(joined) == []
    abroad = exposures(replace(JOINED, dashboard="http://head.invalid:8265"))
    assert abroad[0].startswith("the dashboard listens on head.invalid: start Ray with")


def test_a_folder_that_only_looks_shared_is_told(tmp_path: Path) -> None:
    mark = tmp_path / ".doctor.abc"
    assert examine(tmp_path, tmp_path, mark).out == f"{tmp_path} is a folder of this machine alone"
    mark.touch()
    assert examine(tmp_path, tmp_path, mark).out == ""


@pytest.mark.slow
def test_this_machine_is_examined_by_the_command(tmp_path: Path) -> None:
    ended = raysearch("doctor", "--data", tmp_path / "none", folder=tmp_path)
    assert ended.code == 1, ended
    assert f"no recordings: {tmp_path / 'none'} does not exist" in ended.out
    assert ended.out.splitlines()[-1].startswith("1 machine examined: ")
    assert not list((tmp_path / "runs").iterdir())
