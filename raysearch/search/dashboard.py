"""optuna-dashboard on the journal of a study."""

from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi

from raysearch.errors import UserError


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
    app = wsgi(JournalStorage(JournalFileBackend(str(journal))))
    try:
        server = make_server(
            "127.0.0.1", port, app, server_class=_Server, handler_class=_SilentHandler
        )
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot listen there ({error.strerror}); choose another, or 0"
        ) from error
    with server:
        ready(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()
