"""A search that is watched while it runs: in Ray's dashboard, optuna-dashboard and by `status`.

Only a running search shows that they see its trials come, and disturb it in nothing.
"""

import http.client
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import PATIENCE, browser
from tests.command import Started, begin, link, raysearch, settle, trial_table, write_space
from tests.records import as_written

pytestmark = pytest.mark.slow

TRIALS = 50


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """A folder for a search that lasts longer than it takes to look; then it is cut short."""
    home = settle(tmp_path_factory.mktemp("watching") / "home", demo_data, link)
    strategy = {"trials": TRIALS, "finalists": "none", "scheduler": "none"}
    write_space(home / "tiny.yaml", fixed={"epochs": 20}, strategy=strategy)
    return home


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    return home / "runs" / "valve"


@pytest.fixture(scope="module")
def run(home: Path, folder: Path) -> Iterator[Started]:
    """The search, of which one trial has ended."""
    started = begin(home, "--no-final", "--dashboard", "--no-report")
    try:
        started.wait_until(lambda: len(list(folder.glob("records/[0-9]*.json"))) >= 1)
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def test_the_dashboard_of_ray_is_up_where_the_run_says(run: Started) -> None:
    """The kernel ends a process with the thread that started it: the dashboard must outlive it."""
    run.wait_until(lambda: "Ray dashboard at " in run.out.read_text())
    [address] = re.findall(r"Ray dashboard at http://([\w.]+:\d+)", run.out.read_text())
    server = http.client.HTTPConnection(address, timeout=30)
    server.request("GET", "/")
    # It may ask for a token.
    assert server.getresponse().status in (200, 401)
    server.close()


def test_the_trials_of_a_running_search_are_seen(home: Path, run: Started) -> None:
    shown = Started(("dashboard", "runs/valve", "--port=0"), home)
    try:
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
        if shown.process.poll() is None:
            shown.kill()


def test_what_is_told_during_a_run_is_what_its_table_has_in_the_end(
    home: Path, folder: Path, run: Started
) -> None:
    during = status(home)
    run.send(signal.SIGINT)
    assert run.wait().code == 130
    assert status(home)["state"] == "stopped"
    shorter = len(during["ended"]) + 1
    ended = begin(home, "--no-final", "--no-report", "--trials", shorter).wait()
    assert ended.code == 0, ended
    after = status(home)
    assert (during["state"], after["state"]) == ("running", "finished")
    assert (during["trials"]["total"], after["trials"]["total"]) == (TRIALS, len(after["ended"]))
    rows = trial_table(folder)
    for facts in (during, after):
        assert facts["ended"]
        assert len(facts["ended"]) == facts["trials"]["COMPLETE"]
        for trial in facts["ended"]:
            assert as_written(trial) in [{key: row[key] for key in trial} for row in rows]
    scores = [float(row["val_score"]) for row in rows if row["val_score"]]
    assert after["best"]["val_score"] == max(scores)
    [begun] = during["open"]
    assert begun["trial"] == len(during["ended"])
    assert str(begun["lr"]) in {row["lr"] for row in rows if row["trial"] == str(begun["trial"])}


def status(folder: Path) -> dict[str, Any]:
    """Return what the real command reports of the only study."""
    ended = raysearch("status", "--json", folder=folder)
    assert (ended.code, ended.err) == (0, "")
    [line] = ended.out.splitlines()
    facts: dict[str, Any] = json.loads(line)
    return facts
