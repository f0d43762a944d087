"""Damaged files of a store: each is seen when the store is opened, and decoded anew with a line."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data import store_files
from raysearch.data.index import Clip
from raysearch.data.store import open_store
from raysearch.data.store_files import (
    BLOCK,
    CHECKED_BLOCKS,
    StoreDamageError,
    StoreWriter,
    read_store,
)
from raysearch.errors import DataError

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def write(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def set_mean(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mean": 1e6}))


def set_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SAMPLES: dict[str, Damage] = {
    **{"halved": cut, "longer": lengthen, "zeroed": zero, "flipped": flip, "gone": remove},
    **{"emptied": write(b""), "a folder": set_folder},
}
INDEX: dict[str, Damage] = {
    **{"halved": cut, "zeroed": zero, "flipped": flip, "another mean": set_mean},
    **{"empty": write(b""), "null": write(b"null"), "empty object": write(b"{}")},
    **{"list": write(b"[1]"), "text": write(b'"a"'), "bytes": write(b"\xff\xfe")},
    **{"nested": write(b"[" * 100_000)},
}
CASES = [
    *(("samples.i16", name) for name in SAMPLES),
    *(("index.json", name) for name in INDEX),
]


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path in paths:
        soundfile.write(path, rng.uniform(-0.9, 0.9, 1000), 16000)
    return [Clip("fan", "0", "train", "source", 0, path) for path in paths]


@pytest.mark.parametrize(("file", "kind"), CASES)
def test_a_damaged_store_is_decoded_anew_with_a_line(
    tmp_path: Path, clips: list[Clip], file: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    whole = open_store(clips, cache=cache)
    samples = np.array(whole.samples)
    (path,) = cache.glob(f"*/{file}")
    content = path.read_bytes()
    (SAMPLES if file == "samples.i16" else INDEX)[kind](path)
    with caplog.at_level(logging.WARNING, "raysearch"):
        again = open_store(clips, cache=cache)
    np.testing.assert_array_equal(again.samples, samples)
    assert (again.fingerprint, again.mean, again.std) == (whole.fingerprint, whole.mean, whole.std)
    assert path.read_bytes() == content
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{path.parent} is damaged (")
    assert line.endswith("); its recordings are decoded anew")
    caplog.clear()
    open_store(clips, cache=cache)
    assert caplog.records == []


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a store of 40 blocks and a half."""
    rng = np.random.default_rng(0)
    with (tmp_path / "samples.i16").open("wb") as file:
        writer = StoreWriter(file)
        for number in range(9):
            samples = rng.integers(-32768, 32767, 9 * BLOCK // 4, np.int16)
            clip = Clip("fan", "0", "train", "source", 0, tmp_path / f"{number}.wav")
            writer.add(number, clip, samples)
        writer.finish(tmp_path)
    assert len(writer.blocks) == 41
    return tmp_path


def is_seen(folder: Path) -> bool:
    try:
        read_store(folder)
    except StoreDamageError:
        return True
    return False


def test_every_block_has_its_checksum(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_files, "CHECKED_BLOCKS", 1000)
    files = read_store(large)
    assert files is not None
    assert files.offsets[-1] == 9 * (9 * BLOCK // 4)
    path = large / "samples.i16"
    content = path.read_bytes()
    for start in range(0, len(content), BLOCK):
        path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
        assert is_seen(large)
    path.write_bytes(content)
    assert not is_seen(large)


def test_a_damaged_part_of_many_blocks_is_seen_sooner_or_later(large: Path) -> None:
    path = large / "samples.i16"
    content = path.read_bytes()
    path.write_bytes(content[: 5 * BLOCK] + bytes(10 * BLOCK) + content[15 * BLOCK :])
    # A draw misses all ten of 41 blocks with a probability of 0.07.
    assert any(is_seen(large) for _ in range(20))


def test_opening_reads_a_few_blocks_only(large: Path) -> None:
    before = _bytes_read()
    assert not is_seen(large)
    index = (large / "index.json").stat().st_size
    assert _bytes_read() - before <= (CHECKED_BLOCKS + 2) * BLOCK + index + 100_000


def _bytes_read() -> int:
    """Return the bytes that this process has read, from files or caches."""
    if not Path("/proc/self/io").exists():
        pytest.skip("the system does not count reads")
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_disk_that_keeps_nothing_is_a_line(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No disk here loses what it was given.
    monkeypatch.setattr(
        StoreWriter, "finish", lambda writer, folder: remove(folder / "samples.i16")
    )
    with pytest.raises(DataError, match=r"reads back otherwise .*RAYSEARCH_CACHE"):
        open_store(clips, cache=tmp_path / "cache")
