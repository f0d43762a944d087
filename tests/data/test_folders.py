"""Files below a folder: links, loops, and folders that cannot be read."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data.decode import decode
from raysearch.data.folders import READ_SUFFIXES, Listing, check_answer, list_files
from raysearch.data.index import read_index
from raysearch.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def files(listing: Listing) -> set[str]:
    return {path.as_posix() for path in listing.files}


def unread(listing: Listing) -> dict[str, str]:
    return {item.path.as_posix(): item.reason for item in listing.unread}


def test_files_are_listed_without_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b/c/d.csv", ".e", "b/.f/g.wav")
    (tmp_path / "empty.wav").mkdir()
    listing = list_files(tmp_path)
    assert (files(listing), listing.unread) == ({"a.wav", "b/c/d.csv"}, ())


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/unit/normal/a.wav", "store/b.wav", "data/press/id_0/normal/c.wav")
    data = tmp_path / "data"
    (data / "press" / "id_1").symlink_to(tmp_path / "store" / "unit")
    (data / "press" / "b.wav").symlink_to("../../store/b.wav")
    listing = list_files(data)
    assert files(listing) == {"press/id_0/normal/c.wav", "press/id_1/normal/a.wav", "press/b.wav"}
    assert read_index(data).ids("press") == ["0", "1"]


def test_a_machine_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "disk/section_00_source_train_normal_0000.wav", "disk2/id_7/normal/a.wav")
    for name, target in (("fan/train", "disk"), ("press", "disk2")):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    assert read_index(tmp_path / "data").machines == ["fan", "press"]


def test_loops_and_doubled_links_are_read_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    touch(data, "2024/fan/a.wav")
    touch(tmp_path, "elsewhere/b.wav", "sibling.wav")
    (data / "2024" / "again").symlink_to(data)
    (data / "latest").symlink_to(data / "2024")
    (data / "above").symlink_to(tmp_path)
    (data / "x").symlink_to(tmp_path / "elsewhere")
    (data / "y").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(data / "2024")
    listing = list_files(data)
    assert files(listing) == {"2024/fan/a.wav", "x/b.wav"}
    again = "a link to a folder that is read already"
    assert unread(listing) == dict.fromkeys(["2024/again", "latest", "above", "y", "x/back"], again)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("missing.wav")
    (tmp_path / "b").symlink_to("b")
    assert unread(list_files(tmp_path)) == dict.fromkeys(
        ["a.wav", "b"], "a link to a file or folder that is not there"
    )


@contextmanager
def another_user() -> Iterator[Path]:
    """Yield a folder of this user, in a block that does not run as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_folder_without_permission_is_named(mode: int) -> None:
    with another_user() as folder:
        touch(folder, "press/id_0/normal/a.wav", "press/id_1/normal/b.wav")
        (folder / "press" / "id_1").chmod(mode)
        index = read_index(folder)
        assert index.ids("press") == ["0"]
        assert [(item.path.as_posix(), item.reason) for item in index.unread] == [
            ("press/id_1", "a folder that cannot be read (Permission denied)")
        ]
        (folder / "press" / "id_1").chmod(0o755)


def test_audio_files_of_no_layout_are_named(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("press/id_0/normal/a.wav", "press/id_0/Normal/b.OGG", "press/id_0/normal/day/c.aiff"),
        *("press/id_0/2024/normal/d.wav", "press/id_0/normal/e.m4a", "press/notes.txt", "f.flac"),
    )
    index = read_index(tmp_path)
    assert {clip.name for clip in index.clips} == {"a.wav", "b.OGG", "c.aiff"}
    layout = "a name and folders of no known layout"
    assert {item.path.as_posix(): item.reason for item in index.unread} == {
        "press/id_0/2024/normal/d.wav": layout,
        "f.flac": layout,
        "press/id_0/normal/e.m4a": "an audio format that is not read",
    }


def test_folders_of_dcase_may_have_capitals(tmp_path: Path) -> None:
    touch(tmp_path, "fan/Train/section_00_source_train_normal_0000.wav")
    touch(tmp_path, "fan/Source_Test/section_00_source_test_normal_0000.wav")
    clips = read_index(tmp_path).clips
    assert [(clip.machine, clip.split, clip.domain) for clip in clips] == [
        ("fan", "test", "source"),
        ("fan", "train", "source"),
    ]


def test_a_folder_without_a_clip_says_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "press/2024/a.wav")
    with pytest.raises(DataError, match=r"no clip in .*; 1 audio files, such as press/2024/a\.wav"):
        read_index(tmp_path)


@pytest.mark.parametrize("suffix", sorted(READ_SUFFIXES))
def test_a_suffix_that_is_listed_can_be_read(tmp_path: Path, suffix: str) -> None:
    formats = {"wave": "wav", "oga": "ogg", "aif": "aiff", "aifc": "aiff", "snd": "au"}
    name = suffix[1:]
    kind = formats.get(name, name).upper()
    subtype = {"OPUS": "OPUS", "OGG": "VORBIS"}.get(kind)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone, 16000, format="OGG" if kind == "OPUS" else kind, subtype=subtype)
    assert decode(path, rate=16000).size == pytest.approx(16000, abs=2000)


def test_a_file_that_the_storage_does_not_deliver_is_no_defect(tmp_path: Path) -> None:
    present = tmp_path / "a.wav"
    present.write_bytes(b"no audio")
    check_answer(present)
    with pytest.raises(FileNotFoundError):
        check_answer(tmp_path / "gone.wav")
