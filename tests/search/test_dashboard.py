"""optuna-dashboard on a folder; tests/test_watching.py opens it on a running search."""

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.errors import UserError
from raysearch.search.dashboard import serve


def test_a_port_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
            serve(journal, port, print)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    journal = tmp_path_factory.mktemp("study") / "study.journal"
    optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))), study_name="valve"
    ).add_trial(optuna.create_trial(value=0.5))
    return journal


@pytest.fixture(scope="module")
def port(study: Path) -> Iterator[int]:
    """The real server, in a process as the command starts it."""
    program = (
        "import sys; from pathlib import Path; from raysearch.search.dashboard import serve\n"
        "serve(Path(sys.argv[1]), 0, lambda address: print(address, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(study)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline().strip().strip("/").rpartition(":")[2])
        server.kill()


def ask(port: int, method: str, path: str, headers: Mapping[str, str], body: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, dict(headers))
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:9000", "[::1]:{}", "[::1]", "127.0.0.1"]
)
def test_names_of_the_loopback_are_answered(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/studies", {"Host": host.format(port)}) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{}",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil:80",
        "",
        ":{}",
        "127.0.0.1:80@evil.example",
        "[::1].evil:80",
        "0.0.0.0:{}",
        "evil.example:localhost",
    ],
)
def test_a_name_of_elsewhere_is_refused(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/studies", {"Host": host.format(port)}) == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/0", ""),
        ("POST", "/api/studies", '{"study_name": "x", "directions": ["minimize"]}'),
        ("POST", "/api/studies/0/rename", '{"study_name": "x"}'),
        ("PUT", "/api/studies/0/note", '{"body": "x", "version": 1}'),
        ("OPTIONS", "/api/studies", ""),
    ],
)
def test_nothing_is_changed(study: Path, port: int, method: str, path: str, body: str) -> None:
    before = study.read_bytes()
    for host, status in ((f"127.0.0.1:{port}", 405), ("evil.example", 403)):
        headers = {"Host": host, "Content-Type": "application/json"}
        assert ask(port, method, path, headers, body) == status
    assert ask(port, "GET", "/api/studies/0", {}) == 200
    assert study.read_bytes() == before
