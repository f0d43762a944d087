"""optuna-dashboard on a folder; tests/test_watching.py opens it on a search that runs."""

import socket
from pathlib import Path

import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.search.dashboard import serve


def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.journal").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
            serve(Path(UPath(tmp_path) / "study.journal"), port, print)
