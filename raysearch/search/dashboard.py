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
    """Answers several requests at once: a page asks for many things."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Keeps every request from being a line on the terminal."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def serve(journal: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serves the dashboard on 127.0.0.1 until it is stopped.

    Args:
        journal: of the study; what a search adds to it meanwhile is shown.
        port: 0 takes a free one.
        ready: told the address.

    Raises:
        UserError: the port is taken, or not for this user.
    """
    app = wsgi(JournalStorage(JournalFileBackend(str(journal))))
    try:
        server = make_server("127.0.0.1", port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot listen there ({error.strerror}); choose another, or 0"
        ) from error
    with server:
        ready(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()
