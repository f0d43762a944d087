"""The plain layout: recordings of clips, and their split into training and test."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.data.index import Clip, parse, read_index
from raysearch.data.plain import PLAIN_TEST_SHARE, choose_test, draw, parse_plain, recording_of


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sides(clips: tuple[Clip, ...]) -> dict[tuple[str, str], set[str]]:
    """Return the splits of each recording, by ID and recording."""
    result: dict[tuple[str, str], set[str]] = {}
    for clip in clips:
        result.setdefault((clip.id, clip.recording), set()).add(clip.split)
    return result


@pytest.mark.parametrize(
    ("folders", "name", "recording"),
    [
        ((), "00000000.wav", "00000000.wav"),  # MIMII
        ((), "press.wav", "press.wav"),
        ((), "press7.wav", "press7.wav"),
        ((), "press_left_0007.wav", "press_left"),
        ((), "Monday 3.flac", "Monday"),
        ((), "2024-05-01_12-00-10.wav", "2024-05-01_12-00"),
        ((), "rec.1.wav", "rec"),
        ((), "a - 12.wav", "a"),
        ((), "_3.wav", "_3.wav"),
        (("Monday",), "7.wav", "Monday"),
        (("2024-05-01", "morning"), "press_7.wav", "2024-05-01"),
    ],
)
def test_a_recording_is_a_folder_or_a_name_without_its_number(
    folders: tuple[str, ...], name: str, recording: str
) -> None:
    assert recording_of(folders, name) == recording


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("press/id_A/normal/a.wav", ("press", "A", 0, ())),
        ("x/press/ID_00/Normal/2024/a.wav", ("press", "00", 0, ("2024",))),
        ("press/Id_1/ABNORMAL/a.wav", ("press", "1", 1, ())),
        ("press/id_1/unsure/a.wav", None),
        ("id_1/normal/a.wav", None),
        ("press/id_1/2024/normal/a.wav", None),
        ("press/id_1/normal", None),
    ],
)
def test_folders_tell_machine_id_and_label_in_any_case(
    path: str, expected: tuple[str, str, int, tuple[str, ...]] | None
) -> None:
    plain = parse_plain(Path(path).parts)
    assert (plain and (plain.machine, plain.id, plain.label, plain.folders)) == expected


@given(st.dictionaries(st.text(max_size=4), st.floats(0, 0.999), min_size=1, max_size=20))
def test_some_recordings_test_and_never_all(draws: dict[str, float]) -> None:
    tests = choose_test(draws)
    assert len(tests) >= 1 or len(draws) == 1
    assert len(tests) < len(draws)
    below = {name for name, value in draws.items() if value < PLAIN_TEST_SHARE}
    if 0 < len(below) < len(draws):
        assert tests == below


def test_no_recording_stands_on_both_sides(tmp_path: Path) -> None:
    names = [f"press/id_0/normal/left_{r:02d}_{n:03d}.wav" for r in range(8) for n in range(10)]
    names += [f"press/id_1/Normal/day {r}/{n}.wav" for r in range(4) for n in range(10)]
    names += [f"press/id_0/abnormal/left_{n}.wav" for n in range(3)]
    touch(tmp_path, *names)
    clips = read_index(tmp_path).clips
    assert len(clips) == len(names)
    by_recording = sides(tuple(clip for clip in clips if clip.label == 0))
    assert len(by_recording) == 12
    assert {frozenset(each) for each in by_recording.values()} == {
        frozenset({"train"}),
        frozenset({"test"}),
    }
    for identity in ("0", "1"):
        assert {split for key, s in by_recording.items() if key[0] == identity for split in s} == {
            "train",
            "test",
        }


def test_a_clip_that_is_a_recording_by_itself_is_drawn_by_its_name(tmp_path: Path) -> None:
    touch(tmp_path, *(f"pump/id_02/normal/{n:08d}.wav" for n in range(100)))
    expected = {
        f"{n:08d}.wav": "test" if draw(0, "pump", "2", f"{n:08d}.wav") < 0.25 else "train"
        for n in range(100)
    }
    assert {clip.name: clip.split for clip in read_index(tmp_path).clips} == expected


def test_clips_of_the_only_recording_are_split_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, *(f"press/id_1/normal/press_{n}.wav" for n in range(40)))
    clips = read_index(tmp_path).clips
    assert {clip.recording for clip in clips} == {clip.name for clip in clips}
    assert 4 <= Counter(clip.split for clip in clips)["test"] <= 18


def test_names_of_dcase_are_recordings_by_themselves(tmp_path: Path) -> None:
    stem = "section_00_source_train_normal"
    touch(tmp_path, *(f"valve/id_00/normal/{stem}_{n:04d}.wav" for n in range(20)))
    touch(tmp_path, *(f"fan/train/{stem}_{n:04d}.wav" for n in range(20)))
    clips = read_index(tmp_path).clips
    assert {clip.recording for clip in clips if clip.machine == "fan"} == {""}
    assert all(clip.recording == clip.name for clip in clips if clip.machine == "valve")


def test_an_id_keeps_clips_to_train_on_however_the_draws_fall(tmp_path: Path) -> None:
    for identity in range(60):
        touch(tmp_path, *(f"press/id_{identity}/normal/{n}.wav" for n in range(2)))
    splits: dict[str, Counter[str]] = {}
    for clip in read_index(tmp_path).clips:
        splits.setdefault(clip.id, Counter())[clip.split] += 1
    assert set(map(str, splits.values())) == {str(Counter(test=1, train=1))} or all(
        count == {"test": 1, "train": 1} for count in splits.values()
    )


def test_the_same_name_in_two_folders_is_two_clips() -> None:
    normal, abnormal, deep, section = (
        parse(Path(name))
        for name in (
            "valve/id_00/normal/00000001.wav",
            "valve/id_00/abnormal/00000001.wav",
            "plant/id_9/valve/ID_00/normal/monday/00000001.wav",
            "dev_data/valve/train/section_00_source_train_normal_0000.wav",
        )
    )
    assert normal is not None
    assert abnormal is not None
    assert deep is not None
    assert section is not None
    assert (normal.key, abnormal.key) == ("normal/00000001.wav", "abnormal/00000001.wav")
    assert deep.key == "normal/monday/00000001.wav"
    assert section.key == section.name
