"""Recordings of the same content."""

import shutil
from pathlib import Path

import pytest

from raysearch.data.doubles import drop_doubles, same_content
from raysearch.data.index import read_index


def write(root: Path, **contents: bytes) -> None:
    for name, content in contents.items():
        path = root / "press" / f"id_{name[0]}" / "normal" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def groups(root: Path) -> list[list[str]]:
    counts: list[int] = []
    result = same_content(read_index(root).clips, counts.append)
    return [[clip.path.stem for clip in group] for group in result]


def test_files_of_the_same_bytes_are_grouped(tmp_path: Path) -> None:
    long = bytes(1 << 17)
    write(tmp_path, a1=b"one", a2=b"two", a3=b"one", a4=b"three", b1=b"one", b2=b"", b3=b"")
    write(tmp_path, c1=long + b"x", c2=long + b"y", c3=long + b"x")
    assert sorted(sorted(group) for group in groups(tmp_path)) == [["a1", "a3", "b1"], ["c1", "c3"]]


def test_a_file_that_cannot_be_read_is_equal_to_none(tmp_path: Path) -> None:
    write(tmp_path, a1=b"one", a2=b"one", a3=b"two")
    clips = read_index(tmp_path).clips
    (tmp_path / "press/id_a/normal/a2.wav").unlink()
    (tmp_path / "press/id_a/normal/a2.wav").mkdir()
    assert same_content(clips, lambda count: None) == []


@pytest.mark.parametrize("names", ["same", "other"])
def test_a_data_set_that_is_unpacked_twice_counts_once(tmp_path: Path, names: str) -> None:
    write(tmp_path / "x", a1=b"one", a2=b"two", a3=b"three")
    shutil.copytree(tmp_path / "x", tmp_path / "again")
    if names == "other":  # MIMII: the same names for other levels of noise
        for path in (tmp_path / "again").rglob("*.wav"):
            path.write_bytes(path.read_bytes()[::-1] + b"!")
    clips = read_index(tmp_path).clips
    kept, doubles = drop_doubles(clips)
    assert len(clips) == 6
    if names == "other":
        assert (kept, doubles) == (clips, [])
    else:
        assert [clip.path.parts[-5] for clip in (*kept, *(pair[1] for pair in doubles))] == (
            [*["again"] * 3, *["x"] * 3]
        )
        assert all(first.name == second.name for first, second in doubles)
