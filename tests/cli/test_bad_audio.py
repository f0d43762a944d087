"""The table of bad recordings through the real commands: a right result or a line, never more."""

import csv
import io
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from upath import UPath

from raysearch.errors import printable
from raysearch.study.bundle import save_detector
from tests.command import COMMAND, raysearch, trial_table, write_space
from tests.data.test_bad_audio import FORMATS, RATE, READ, REFUSED, SPECIAL, TONE, WHOLE
from tests.detectors import make_detector

pytestmark = pytest.mark.slow

SCORED = ("GSM", "NaN", "infinity", "floats of int16")
"""Special kinds that are plain files; the others are refused before anything is scored."""

SCORE_NAME, TRAIN_NAME = "section_00_{}.wav", "section_00_source_train_normal_9{:03}.wav"


def write_good(folder: Path, name: str = SCORE_NAME) -> dict[str, Path]:
    """Write every kind that can be read, with a name of its own."""
    paths = {}
    for number, kind in enumerate([*READ, *FORMATS]):
        path = folder / name.format(number)
        if kind in READ:
            path.write_bytes(READ[kind][0])
        else:
            container, subtype, _ = FORMATS[kind]
            soundfile.write(path, TONE, RATE, format=container, subtype=subtype)
        paths[kind] = path
    return paths


def write_bad(folder: Path, name: str = SCORE_NAME) -> dict[str, Path]:
    """Write every kind that is refused."""
    paths = {}
    for number, kind in enumerate([*REFUSED, *SPECIAL], 50):
        path = folder / name.format(number)
        if kind in REFUSED:
            path.write_bytes(REFUSED[kind][0])
        else:
            SPECIAL[kind][0](path)
        paths[kind] = path
    return paths


def test_every_kind_is_scored_or_refused_in_its_row(tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    good, bad = write_good(tmp_path), write_bad(tmp_path)
    bad = {kind: path for kind, path in bad.items() if kind in (*REFUSED, *SCORED)}
    files = [path.name for path in [*good.values(), *bad.values()]]
    ended = raysearch("score", "detector", *files, folder=tmp_path)
    assert ended.code == 1, ended
    assert ended.err == ""
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(ended.out))}
    assert list(rows) == files
    whole = float(rows[good["whole"].name]["score"])
    for kind, path in good.items():
        row = rows[path.name]
        assert np.isfinite(float(row["score"])), kind
        assert (row["decision"] in ("0", "1"), row["error"]) == (True, ""), kind
        if kind in READ:
            assert (float(row["score"]) == whole) == (READ[kind][1] == RATE), kind
    reasons = {kind: reason for kind, (_, reason) in (*REFUSED.items(), *SPECIAL.items())}
    for kind, path in bad.items():
        row = rows[path.name]
        assert (row["score"], row["decision"]) == ("", ""), kind
        assert row["error"].startswith(reasons[kind]), kind
        assert "\n" not in row["error"], kind
    alone = raysearch("score", "detector", *[path.name for path in good.values()], folder=tmp_path)
    assert (alone.code, alone.err) == (0, "")


@pytest.mark.parametrize("kind", [kind for kind in SPECIAL if kind not in SCORED])
def test_what_is_no_file_is_refused_before_anything_is_scored(tmp_path: Path, kind: str) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    SPECIAL[kind][0](tmp_path / "section_00_1.wav")
    ended = raysearch("score", "detector", "section_00_1.wav", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("raysearch: ")
    assert ended.err.count("\n") == 1
    assert "section_00_1.wav" in ended.err


def test_the_check_of_a_data_set_names_every_bad_recording(
    tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(demo_data, tmp_path / "data")
    folder = tmp_path / "data/dev_data/valve/train"
    good, bad = write_good(folder, TRAIN_NAME), write_bad(folder, TRAIN_NAME)
    ended = raysearch("data", "check", "data", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    defective = [line for line in lines if line.startswith("defective: ")]
    reasons = {kind: reason for kind, (_, reason) in (*REFUSED.items(), *SPECIAL.items())}
    for kind in (*REFUSED, *SCORED):
        [line] = [line for line in defective if f"{bad[kind].name}: " in line]
        assert reasons[kind] in line, kind
    assert len(defective) == len(REFUSED) + len(SCORED)
    assert not [kind for kind, path in good.items() if any(path.name in d for d in defective)]
    # A folder named like a recording holds none.
    left_out = len(SPECIAL) - len(SCORED) - 1
    assert f"{left_out} audio files or folders are left out" in lines


def test_a_search_over_every_kind_that_can_be_read(
    tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(demo_data, tmp_path / "data")
    write_good(tmp_path / "data/dev_data/valve/train", TRAIN_NAME)
    write_space(
        tmp_path / "tiny.yaml", fixed={"epochs": 1}, strategy={"trials": 1, "finalists": "none"}
    )
    ended = raysearch(
        *("run", "--machine", "valve", "--space", "tiny.yaml", "--no-dashboard", "--no-report"),
        folder=tmp_path,
    )
    assert ended.code == 0, ended
    [row, *_] = trial_table(tmp_path / "runs/valve")
    assert row["state"] == "COMPLETE"
    assert np.isfinite(float(row["val_score"]))


ODD = ("a\x1b]0;title\x07.wav", "a\nb.wav", "=1+1.wav", "a,b.wav", 'a"b.wav')


def test_a_program_reads_the_very_names_and_a_terminal_shows_them(tmp_path: Path) -> None:
    save_detector(make_detector(), UPath(tmp_path / "detector"))
    for name in ODD:
        (tmp_path / name).write_bytes(WHOLE)
    (tmp_path / "bad\x1b.wav").write_bytes(b"")
    names = [*ODD, "bad\x1b.wav"]
    arguments = ["score", "detector", *names, "--id", "0"]
    ended = raysearch(*arguments, folder=tmp_path)
    assert ended.code == 1, ended
    assert [row["file"] for row in csv.DictReader(io.StringIO(ended.out))] == names
    terminal, side = os.openpty()
    process = subprocess.run([COMMAND, *arguments], cwd=tmp_path, stdout=side, stderr=side)
    os.close(side)
    shown = b""
    # Linux says with an error that nobody writes any more.
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.returncode == 1
    assert not set(b"\x1b\x07") & set(shown)
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    rows = list(csv.DictReader(lines))
    assert [row["file"] for row in rows] == [printable(name) for name in names]
    assert len(lines) == 1 + len(names)
