"""Who listens on a port, and that no other user is sent a token."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from raysearch.errors import UserError
from raysearch.remote import jobs, listener
from raysearch.remote.tunnel import UnreachableError
from tests.packages import lacking

SQUAT = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
print(connection.recv(9999), flush=True)
"""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def squatter(request: pytest.FixtureRequest) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """A port that another user listens on, and the process, which prints what it receives."""
    if os.geteuid() != 0:
        pytest.skip("another user needs root")
    command = [sys.executable, "-S", "-c", SQUAT, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
        process.kill()


def test_a_port_of_this_user_and_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener.check_listener(port)
    assert not listener.check_listener(port)


def test_a_port_of_another_user(squatter: tuple[int, "subprocess.Popen[str]"]) -> None:
    with pytest.raises(PermissionError, match="was taken by another user"):
        listener.check_listener(squatter[0])


def test_a_token_is_not_sent_to_another_user(
    squatter: tuple[int, "subprocess.Popen[str]"],
) -> None:
    port, process = squatter
    with pytest.raises(UnreachableError, match="was taken by another user"):
        jobs.create_client(f"http://127.0.0.1:{port}", "secret", "test")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"only this")
        assert process.stdout is not None
        assert process.stdout.readline() == f"{b'only this'!r}\n"


def test_a_token_is_not_sent_to_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers["Authorization"])
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy, HTTPServer(("127.0.0.1", 0), Proxy) as end:
        for server in (proxy, end):
            Thread(target=server.serve_forever, daemon=True).start()
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        end.RequestHandlerClass = type(
            "End", (Proxy,), {"do_GET": lambda self: self.send_error(404)}
        )
        with pytest.raises(UserError):
            jobs.create_client(f"http://127.0.0.1:{end.server_port}", "secret", "test")
        for server in (proxy, end):
            server.shutdown()
    assert received == []


@pytest.mark.skipif(bool(lacking(("lsof",))), reason="lsof is not installed")
def test_lsof_says_the_same_where_there_is_no_proc() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener._owners_by_lsof(port) == listener._owners(port) == {os.geteuid()}
    assert listener._owners_by_lsof(port) == set()
