"""The golden run: the files of a search equal those of an earlier version.

Only whole runs show that this version resumes and reads the studies of an earlier one.
"""

import json
import platform
import subprocess
from pathlib import Path

import pytest

from tests.command import COMMAND as RAYSEARCH
from tests.command import table
from tests.golden import search
from tests.golden.clips import SEARCHED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="recorded on x86-64: elsewhere sums are rounded so"
    ),
]


def command(home: Path, *arguments: object) -> str:
    """Run a command, which must succeed; return its output."""
    process = subprocess.run(
        [RAYSEARCH, *map(str, arguments)],
        cwd=home,
        env=search.environment(),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("golden")
    search.settle(home)
    return home


def compare(home: Path) -> None:
    files, expected = search.outcome(home), search.expected()
    assert files.keys() == expected.keys()
    for name, text in expected.items():
        assert files[name] == text, name


def test_a_search_writes_the_expected_files(home: Path) -> None:
    command(home, *search.COMMAND)
    compare(home)
    (home / "runs").rename(home / "whole")


def test_a_search_interrupted_within_a_trial_resumes_to_the_same_files(home: Path) -> None:
    search.unpack(search.INTERRUPTED, home)
    output = command(home, *search.COMMAND)
    assert "valve: resuming: " in output
    compare(home)
    resumes = [json.loads(p.read_text())["resumes"] for p in home.glob("runs/valve/records/*")]
    assert any(resumes)
    (home / "runs").rename(home / "resumed")


def test_a_search_finished_by_an_earlier_version_is_read(home: Path) -> None:
    search.unpack(search.FINISHED, home)
    status = json.loads(command(home, "status", "runs/valve", "--json"))
    frozen = json.loads((home / "runs/valve/frozen.json").read_text())
    assert (status["state"], status["winner"]) == ("finished", frozen)
    assert status["trials"]["given_out"] == len(list(home.glob("runs/valve/records/*.json")))

    command(home, "report", "runs/valve")
    best = "lr {lr:.3g}, batch size {batch_size}, λ {lam:.3g}, {inlier} p={p}".format(**frozen)
    assert f"valve: {best}" in (home / "runs" / "valve" / "report.html").read_text("utf-8")

    command(home, "export", "--out", "runs")
    rows = {row["parameter"]: row for row in table(home / "runs" / "best_configs.csv")}
    for machine in SEARCHED:
        [config] = table(home / "runs" / machine / "best_config.csv")
        assert {name: rows[name][machine] for name in config if name in rows} == {
            name: value for name, value in config.items() if name != "machine"
        }

    kind = "valve_section_03_source_test.csv"
    scores = home / "runs/valve/submission" / f"anomaly_score_{kind}"
    for line in scores.read_text().splitlines()[:2]:
        name, score = line.split(",")
        output = command(home, "score", "runs/valve/detector", f"data/valve/source_test/{name}")
        file, identity, again, *_ = output.splitlines()[1].split(",")
        assert (file, identity) == (f"data/valve/source_test/{name}", "3")
        # The version that wrote it summed up in another order.
        assert float(again) == pytest.approx(float(score), rel=1e-9)
