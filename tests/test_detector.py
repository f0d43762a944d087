"""Recordings of any length: the scores of the whole, in the memory of a block."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from upath import UPath

from raysearch.data import decode as decode_module
from raysearch.errors import DataError, UserError
from raysearch.scoring import inlier as inlier_module
from raysearch.study.bundle import save_detector
from tests.detectors import IDS, make_detector

NORMAL = {identity: (float(n), n + 0.5) for n, identity in enumerate(IDS)}


def record(path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    """Write noise whose level changes, minute by minute."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, channels) as sound:
        left = round(seconds * rate)
        while left:
            size = min(left, 60 * rate)
            sound.write(rng.normal(0, rng.uniform(0.01, 0.2), (size, channels)))
            left -= size
    return path


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
@pytest.mark.parametrize(
    ("inlier", "p", "options"),
    [
        ("gmm", 2, {}),
        ("knn", 5, {"aggregator": {"knn": "max"}}),
        ("none", None, {"method": "ddcsad"}),
    ],
)
def test_a_recording_in_blocks_has_the_scores_of_the_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: int,
    channels: int,
    inlier: str,
    p: int | None,
    options: dict[str, Any],
) -> None:
    path = record(tmp_path / "a.flac", 61.3, rate, channels)
    detector = replace(make_detector(inlier, p, **options), normal=NORMAL)
    monkeypatch.setattr(inlier_module, "BLOCK", 50)  # of 123 segments, 48 are embedded at once
    whole = [detector.score(path, id=i) for i in ("0", "any")], detector.windows(path, id="3")
    assert len(whole[1]) == 123
    assert len({window.score for window in whole[1]}) == 123
    monkeypatch.setattr(decode_module, "BLOCK", 30011)
    assert [detector.score(path, id=i) for i in ("0", "any")] == whole[0]
    assert detector.windows(path, id="3") == whole[1]


def test_windows_come_before_the_last_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_module, "BLOCK", 16000)
    monkeypatch.setattr(inlier_module, "BLOCK", 48)
    path, detector = record(tmp_path / "a.wav", 60), make_detector("knn", 2)
    windows = detector.iter_windows(path, id="3")
    assert isinstance(windows, Iterator)
    first = [next(windows) for _ in range(48)]
    record(path, 1)  # what is not yet read is gone
    assert first[-1].end == 24.0
    with pytest.raises(DataError, match="has become shorter while it was scored"):
        list(windows)


def test_a_wrong_request_for_windows_shows_at_once(tmp_path: Path) -> None:
    path, detector = record(tmp_path / "a.wav", 1, rate=8000), make_detector()
    with pytest.raises(UserError, match="ID 4 is not one of"):
        detector.iter_windows(path, id="4")
    with pytest.raises(DataError, match="recorded at 8000 Hz"):
        detector.iter_windows(path, id="3")


PEAK = """
import sys
from pathlib import Path
from typer.testing import CliRunner
from raysearch.cli.main import app
for arguments in ([], ["--windows"]):
    done = CliRunner().invoke(app, ["score", *sys.argv[1:], "--id", "3", *arguments])
    assert done.exit_code == 0, done.output
[line] = [l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")]
print(done.output.count(chr(10)), line.split()[1])
"""


def peak(*arguments: object) -> tuple[int, float]:
    """Score a recording, and its windows, by the command; return their lines and the peak in MB."""
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines, kilobytes = done.stdout.split()
    return int(lines), int(kilobytes) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_hours_is_that_of_a_block(tmp_path: Path) -> None:
    save_detector(make_detector(segment_seconds=2.0), UPath(tmp_path / "detector"))
    minutes, hours = (record(tmp_path / f"{n}.flac", 60 * n) for n in (5, 120))
    lines, short = peak(tmp_path / "detector", minutes)
    assert lines == 151
    lines, long = peak(tmp_path / "detector", hours)
    assert lines == 3601
    # At 16 bit, two hours are 220 MB.
    assert long - short < 100
