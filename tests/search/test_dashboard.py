"""optuna-dashboard on a folder; tests/test_watching.py opens it on a running search."""

import socket
from pathlib import Path

import pytest

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
