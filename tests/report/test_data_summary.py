"""Counts and defects of a data set, as `raysearch data check` prints them."""

import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from raysearch.data.index import read_index
from raysearch.report.data_summary import (
    show_counts,
    show_defects,
    show_doubles,
    show_recordings,
    show_unread,
)

RATE = 16000


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    train, test = tmp_path / "dev_data/fan/train", tmp_path / "dev_data/fan/source_test"
    for number in range(3):
        write(train / f"section_00_source_train_normal_{number:04d}.wav", noise(3))
    write(train / "section_00_target_train_normal_0000.wav", noise(3))
    write(train / "section_10_source_train_normal_0000.wav", noise(3))
    write(train / "section_02_source_train_normal_0000.wav", noise(3))
    write(test / "section_00_source_test_normal_0000.wav", noise(3))
    write(test / "section_00_source_test_anomaly_0000.wav", noise(3))
    write(tmp_path / "eval_data/fan/source_test/section_03_source_test_0000.wav", noise(3))
    return tmp_path


def counts(root: Path) -> list[str]:
    file = StringIO()
    show_counts(read_index(root, domain="both"), Console(file=file, width=60))
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def defects(root: Path) -> list[str]:
    file = StringIO()
    index = read_index(root, domain="both")
    show_defects(index, Console(file=file, width=40), rate=RATE, segment=2 * RATE)
    return file.getvalue().splitlines()


def test_clips_are_counted_by_everything_that_tells_them_apart(root: Path) -> None:
    title, head, *rows = counts(root)
    assert title == f"9 clips in {root}"
    assert head == "machine ID split domain label clips"
    assert rows == [
        "fan 0 test source anomalous 1",
        "fan 0 test source normal 1",
        "fan 0 train source normal 3",
        "fan 0 train target normal 1",
        "fan 2 train source normal 1",
        "fan 3 test source unlabelled 1",
        "fan 10 train source normal 1",
    ]


def test_a_sound_data_set_has_no_defects(root: Path) -> None:
    assert defects(root) == [
        "0 defective files would be left out, 0 are used with a note",
    ]


def test_every_defective_file_is_named_with_its_reason(root: Path) -> None:
    folder = root / "dev_data/fan/train"

    def name(number: int) -> Path:
        return folder / f"section_01_source_train_normal_{number:04d}.wav"

    write(name(0), np.zeros(3 * RATE))
    write(name(1), np.where(np.arange(3 * RATE) == 5, np.nan, noise(3)))
    name(2).write_bytes(b"no audio at all")
    write(name(3), noise(0))
    write(name(4), noise(3, 48000), 48000)
    write(name(5), noise(1))
    write(name(6), noise(1, 8000), 8000)
    lines = defects(root)
    reasons = [
        ("defective", 0, "silent"),
        ("defective", 1, "holds NaN or infinite samples"),
        ("defective", 2, "unreadable: "),
        ("defective", 3, "empty"),
        ("note", 4, "wrong rate: 48000 Hz, will be resampled to 16000 Hz"),
        ("note", 5, "shorter than a segment: 1.00 s, will be repeated"),
        ("note", 6, "wrong rate: 8000 Hz, will be resampled to 16000 Hz"),
        ("note", 6, "shorter than a segment: 1.00 s, will be repeated"),
    ]
    for line, (kind, number, reason) in zip(lines[:-1], reasons, strict=True):
        assert line.startswith(f"{kind}: {name(number)}: {reason}")
    assert lines[-1] == "4 defective files would be left out, 3 are used with a note"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_that_are_left_out_are_counted_by_folder(tmp_path: Path) -> None:
    touch(tmp_path, "press/id_0/normal/a.wav", "press/id_0/2024/b.wav", "press/id_0/2024/c.ogg")
    touch(tmp_path, "press/id_0/normal/d.wma", *(f"{n}/a.wav" for n in range(60)))
    file = StringIO()
    show_unread(read_index(tmp_path), Console(file=file, width=40))
    lines = file.getvalue().splitlines()
    folder, layout = tmp_path / "press" / "id_0", "a name and folders of no known layout"
    assert lines[0] == f"left out: a.wav of {tmp_path}/0: {layout}"
    assert lines[-2:] == [
        "left out: files of 12 more folders",
        "63 audio files or folders are left out",
    ]
    for number in range(60):
        (tmp_path / str(number) / "a.wav").unlink()
    file = StringIO()
    show_unread(read_index(tmp_path), Console(file=file, width=40))
    assert file.getvalue().splitlines() == [
        f"left out: b.wav of {folder}/2024 and 1 more: {layout}",
        f"left out: d.wma of {folder}/normal: an audio format that is not read",
        "3 audio files or folders are left out",
    ]


def test_a_data_set_that_is_read_whole_has_no_line_on_it(root: Path) -> None:
    file = StringIO()
    index = read_index(root, domain="both")
    for show in (show_unread, show_recordings):
        show(index, Console(file=file))
    assert file.getvalue() == ""


def test_recordings_of_the_plain_layout_are_counted(tmp_path: Path) -> None:
    for recording in range(6):
        touch(tmp_path, *(f"press/id_0/normal/r{recording}_{n}.wav" for n in range(20)))
    for recording in range(2):
        touch(tmp_path, *(f"press/id_1/normal/r{recording}/{n}.wav" for n in range(60)))
    touch(tmp_path, "press/id_0/abnormal/x.wav", *(f"fan/id_0/normal/{n}.wav" for n in range(9)))
    file = StringIO()
    show_recordings(read_index(tmp_path), Console(file=file, width=40))
    touch(tmp_path, *(f"fan/id_1/normal/fan_{n}.wav" for n in range(9)))
    fan, press, note = file.getvalue().splitlines()
    assert fan.startswith("fan: 9 recordings, 9 normal clips; each a recording by itself")
    assert press.startswith("press: 8 recordings, 240 normal clips; split into training and test ")
    assert note.startswith("note: ID 1 of press trains on one recording only")
    file = StringIO()
    show_recordings(read_index(tmp_path), Console(file=file, width=40))
    note = file.getvalue().splitlines()[1]
    assert note.startswith("note: ID 1 of fan has one recording only, fan, so its clips are split")


def test_files_of_the_same_content_are_listed_without_labels(root: Path) -> None:
    train, test = root / "dev_data/fan/train", root / "dev_data/fan/source_test"
    for path in root.rglob("*.wav"):
        path.write_bytes(path.name.encode())
    evaluation = root / "eval_data/fan/source_test/section_03_source_test_0000.wav"
    truth = root / "ground_truth_fan_section_03_source_test.csv"
    truth.write_text(f"{evaluation.name},1\n")
    names = [train / f"section_00_source_train_normal_{n:04d}.wav" for n in range(3)]
    shutil.copy(names[0], names[1])
    shutil.copy(names[2], evaluation)
    shutil.copy(
        train / "section_10_source_train_normal_0000.wav",
        test.parent / "train/" / ("section_02_source_train_normal_0000.wav"),
    )
    file = StringIO()
    show_doubles(read_index(root, domain="both"), Console(file=file, width=40))
    lines = file.getvalue().splitlines()
    assert sorted(lines) == sorted(
        [
            "same content under one product ID: 1 recordings",
            f"same content: {names[0]} = {names[1]}",
            "same content in training and in the test: 1 recordings",
            f"same content: {evaluation} = {names[2]}",
            "same content under several product IDs or machine types: 1 recordings",
            f"same content: {train}/section_02_source_train_normal_0000.wav = "
            f"{train}/section_10_source_train_normal_0000.wav",
        ]
    )
    assert "anomal" not in file.getvalue()
