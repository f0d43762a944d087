"""optuna-dashboard on a study that is being searched, in a real browser."""

import re
import signal
import socket
from pathlib import Path

import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.search.dashboard import serve
from tests.browser import PATIENCE, browser
from tests.command import Started, write_space


@pytest.mark.slow
def test_the_trials_of_a_running_search_are_seen(tmp_path: Path, demo_data: Path) -> None:
    (tmp_path / "data").symlink_to(demo_data)
    strategy = {"trials": 50, "finalists": "none", "scheduler": "none"}
    write_space(tmp_path / "tiny.yaml", fixed={"epochs": 20}, strategy=strategy)
    command = ("run", "--machine=valve", "--space=tiny.yaml", "--concurrent=1", "--no-final")
    run, folder = Started(command, tmp_path), tmp_path / "runs" / "valve"
    shown = None
    try:
        run.wait_until(lambda: len(list(folder.glob("records/[0-9]*.json"))) >= 1)
        shown = Started(("dashboard", "runs/valve", "--port=0"), tmp_path)
        shown.wait_until(lambda: "http" in shown.out.read_text())
        [address] = re.findall(r"http://127\.0\.0\.1:\d+/", shown.out.read_text())
        try:
            with browser() as at:
                page = at.new_page()
                page.goto(f"{address}dashboard/studies/0/trials", timeout=PATIENCE)
                page.get_by_text(re.compile("Trial 0")).first.wait_for(timeout=PATIENCE)
                # The page asks again by itself: what ends meanwhile appears.
                page.get_by_text(re.compile("Trial 2")).first.wait_for(timeout=PATIENCE)
        except LookupError as error:
            pytest.skip(str(error))
        assert run.process.poll() is None
        shown.send(signal.SIGINT)
        assert shown.wait().code == 0
        assert "Traceback" not in shown.err.read_text()
    finally:
        for one in (run, shown):
            if one is not None and one.process.poll() is None:
                one.kill()


def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.journal").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
            serve(Path(UPath(tmp_path) / "study.journal"), port, print)
