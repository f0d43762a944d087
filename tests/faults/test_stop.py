"""Ctrl-C stops a search; the same command resumes.

Only a run in a process group of its own can be interrupted as a terminal does.
"""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command import Ended, Study, begin, link, record_files, settle, write_space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """A folder for a search that samples inlier models, long enough to be stopped in a trial."""
    home = settle(tmp_path_factory.mktemp("stopped") / "home", demo_data, link)
    write_space(
        home / "tiny.yaml",
        search={"lr": 3e-3, "batch_size": 16, "inlier": {"gmm": [1, 2], "none": []}},
        fixed={"epochs": 10},
        strategy={"trials": 6, "inlier": "sample"},
    )
    return home


def test_ctrl_c_stops_and_the_same_command_resumes(stopped: Path) -> None:
    study = Study(stopped, Ended(0, "", ""))
    started = begin(stopped, "--no-report")
    try:
        started.wait_until(lambda: (study.folder / "study.json").exists())
        second = begin(stopped, "--no-report").wait()
        assert (second.code, second.err.count("\n")) == (2, 1)
        assert "another raysearch is running" in second.err
        started.wait_until(lambda: any(study.folder.glob("encoders/*/last.safetensors")))
        started.send(signal.SIGINT)
        ended = started.wait()
    finally:
        if started.process.poll() is None:
            started.kill()
    assert ended.code == 130, ended
    assert "the same command resumes" in ended.err
    assert "Traceback" not in ended.err
    assert not (study.folder / "final_test.csv").exists()
    before = record_files(study.folder)
    assert len(before) < 6
    resumed = begin(stopped, "--no-report").wait()
    assert resumed.code == 0, resumed
    after = record_files(study.folder)
    assert list(after) == [f"000{n}.json" for n in range(6)]
    assert before.items() <= after.items()
    records = [json.loads(content) for content in after.values()]
    assert any(record["resumes"] for record in records)
    check_loaded(records)


def check_loaded(records: list[dict[str, Any]]) -> None:
    """Two encoders serve six trials: to train one again would take another time."""
    histories = {(record["encoder"], json.dumps(record["history"])) for record in records}
    assert len(histories) == len({encoder for encoder, _ in histories}) == 2
    rows = [(r["encoder"], row["inlier"], row["p"]) for r in records for row in r["rows"]]
    assert len(set(rows)) == len(rows) == 6


def test_ctrl_c_outside_of_a_trial_says_how_to_go_on(stopped: Path) -> None:
    started = begin(stopped, "--no-report", "--name", "early")
    started.wait_until(lambda: (stopped / "runs" / "early" / "study.json").exists())
    started.send(signal.SIGINT)
    ended = started.wait()
    assert ended.code == 130, ended
    assert ended.err == "raysearch: stopped; the same command resumes from here\n"


def test_sigterm_ends_a_run_as_ctrl_c_does(stopped: Path) -> None:
    """A cluster stops a job by SIGTERM; Ray's own handler prints a stack and aborts the process."""
    started = begin(stopped, "--no-report", "--name", "terminated")
    encoders = stopped / "runs" / "terminated" / "encoders"
    started.wait_until(lambda: any(encoders.glob("*/last.safetensors")))
    os.kill(started.process.pid, signal.SIGTERM)
    ended = started.wait()
    assert ended.code == 130, ended
    message = r"raysearch: stopped with \d of 6 trials done; the same command resumes from here\n"
    assert re.fullmatch(message, ended.err)
