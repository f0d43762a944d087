"""optuna-dashboard on the journal of a study, to look at.

A page of the internet can send requests to the loopback of whoever opens it, and its own name can
be pointed there. So a request must name the loopback, and none changes the study: its records are
the truth, and its journal is made from them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi

from raysearch.errors import UserError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost", "[::1]")
"""Names that a browser may have for the loopback; a tunnel changes the port only."""
METHODS = ("GET", "HEAD")
"""Methods that change nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """A server that answers requests in parallel: a page sends many."""

    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    """A request handler without a log line for every request."""

    def log_message(self, format: str, *args: object) -> None:
        """Skip the log line."""


def serve(journal: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard on 127.0.0.1 until it is stopped.

    Args:
        journal: of the study; the dashboard follows what a running search appends.
        port: 0 is any free port.
        ready: called with the address.

    Raises:
        UserError: the port is taken or not permitted.
    """
    app = guard(wsgi(JournalStorage(JournalFileBackend(str(journal)))))
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_SilentHandler)
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot listen there ({error.strerror}); choose another, or 0"
        ) from error
    with server:
        ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


def guard(app: "WSGIApplication") -> "WSGIApplication":
    """Wrap an application so that it answers to this machine only, and changes nothing."""

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        refusal = _refusal(environ)
        if not refusal:
            return app(environ, start_response)
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Allow", ", ".join(METHODS))]
        start_response(refusal, headers)
        return [f"{refusal}\n".encode()]

    return guarded


def _refusal(environ: "WSGIEnvironment") -> str:
    """Return the HTTP status of a request that is refused; empty for one that is answered."""
    name = environ.get("HTTP_HOST", "").lower()
    host, _, port = name.rpartition(":")
    # An IPv6 address holds colons, within its brackets.
    if port and not port.isdecimal():
        host = name
    if (host or name) not in HOSTS:
        return f"403 Forbidden: open http://{HOST} or http://localhost"
    if environ["REQUEST_METHOD"] not in METHODS:
        return "405 Method Not Allowed: this dashboard changes nothing"
    return ""
