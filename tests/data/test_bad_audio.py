"""Bad audio files: each gives the right samples, or one line that says what is wrong.

The table holds what recorders, copies and networks do to files: headers that lie, parts that are
missing, other formats under the name of a WAV, and what is no file at all.
"""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data.decode import Int16, decode
from raysearch.data.folders import list_files
from raysearch.data.index import Clip
from raysearch.data.store import open_store, read_header
from raysearch.errors import DataError, UserError
from raysearch.storage import to_path
from tests.detectors import make_detector

RATE = 16000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
PCM: Int16 = np.rint(TONE * 32767).astype(np.int16)
RAW = PCM.astype("<i2").tobytes()
ULAW_STEP = 600
"""Largest error of 8 bits with a logarithmic scale at half of full scale."""


def chunk(tag: bytes, body: bytes, size: int | None = None) -> bytes:
    return (
        tag
        + struct.pack("<I", len(body) if size is None else size)
        + body
        + b"\0" * (len(body) % 2)
    )


def fmt(kind: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    step = channels * bits // 8 & 0xFFFF
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * step & 0xFFFFFFFF, step, bits)
    )


def riff(*parts: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


DATA = chunk(b"data", RAW)
WHOLE = riff(fmt(), DATA)
EXTENSIBLE = chunk(
    b"fmt ",
    struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * 2, 2, 16, 22, 16, 4)
    + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71",
)
FOREIGN = np.repeat(PCM[:1000], 100).astype("<i2").tobytes()

READ: dict[str, tuple[bytes, int]] = {
    "whole": (WHOLE, RATE),
    "data cut": (WHOLE[:8044], 4000),
    "data cut within a sample": (WHOLE[:8045], 4000),
    "streamed, sizes at their end": (
        riff(fmt(), chunk(b"data", RAW, 0xFFFFFFFF), size=0xFFFFFFFF),
        RATE,
    ),
    "size of the file 0": (riff(fmt(), DATA, size=0), RATE),
    "odd chunks": (riff(chunk(b"LIST", b"abc"), fmt(), chunk(b"junk", b"x" * 7), DATA), RATE),
    "a chunk before the format": (riff(chunk(b"bext", bytes(602)), fmt(), DATA), RATE),
    "a chunk after the data": (riff(fmt(), DATA, chunk(b"LIST", b"x" * 40)), RATE),
    "100 channels": (riff(fmt(channels=100), chunk(b"data", FOREIGN)), 1000),
    "12 bits": (riff(fmt(bits=12), DATA), RATE),
    "extensible": (riff(EXTENSIBLE, DATA), RATE),
}
"""Content of a file, and how many of the samples it has."""

REFUSED: dict[str, tuple[bytes, str]] = {
    "rate 1": (riff(fmt(rate=1), DATA), "its header says 1 Hz"),
    "rate 99": (riff(fmt(rate=99), DATA), "its header says 99 Hz"),
    "rate 2 GHz": (riff(fmt(rate=2_000_000_000), DATA), "its header says 2000000000 Hz"),
    "rate 0": (riff(fmt(rate=0), DATA), "unreadable"),
    "rate 4 GHz": (riff(fmt(rate=4_000_000_000), DATA), "unreadable"),
    "header cut": (WHOLE[:20], "unreadable"),
    "format cut": (WHOLE[:30], "unreadable"),
    "four bytes": (WHOLE[:4], "unreadable"),
    "size of the data 0": (riff(fmt(), chunk(b"data", RAW, 0)), "empty"),
    "no samples": (riff(fmt(), chunk(b"data", b"")), "empty"),
    "an odd chunk without its pad": (
        riff(fmt(), b"LIST" + struct.pack("<I", 3) + b"abc", DATA),
        "unreadable",
    ),
    "no format": (riff(DATA), "unreadable"),
    "no data": (riff(fmt()), "unreadable"),
    "data before the format": (riff(DATA, fmt()), "unreadable"),
    "no channels": (riff(fmt(channels=0), DATA), "unreadable"),
    "65535 channels": (riff(fmt(channels=65535), DATA), "unreadable"),
    "0 bits": (riff(fmt(bits=0), DATA), "unreadable"),
    "an unknown format": (riff(fmt(kind=999), DATA), "unreadable"),
    "ADPCM without its table": (riff(fmt(kind=2, bits=4), DATA), "unreadable"),
    "a chunk of 4 GB": (riff(chunk(b"LIST", b"", 0xFFFFFFF0), fmt(), DATA), "unreadable"),
    "a film": (b"RIFF\0\0\0\0AVI LIST", "unreadable"),
    "a tag of MP3 alone": (b"ID3\x04" + bytes(100), "unreadable"),
    "JSON": (b'{"a": 1}', "unreadable"),
    "a page of an error": (b"<html><body>404 Not Found</body></html>", "unreadable"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 320044\n",
        "unreadable",
    ),
    "an archive": (b"PK\x03\x04" + bytes(100), "unreadable"),
    "an empty file": (b"", "unreadable"),
    "zeros": (bytes(4096), "unreadable"),
    "noise": (random.Random(0).randbytes(4096), "unreadable"),
    "silence": (riff(fmt(), chunk(b"data", bytes(2000))), "silent"),
}
"""Content of a file, and what is said of it."""

FORMATS: dict[str, tuple[str, str, int]] = {
    "8 bits": ("WAV", "PCM_U8", 256),
    "24 bits": ("WAV", "PCM_24", 1),
    "32 bits": ("WAV", "PCM_32", 1),
    "floats": ("WAV", "FLOAT", 1),
    "doubles": ("WAV", "DOUBLE", 1),
    "A-law": ("WAV", "ALAW", ULAW_STEP),
    "µ-law": ("WAV", "ULAW", ULAW_STEP),
    "IMA ADPCM": ("WAV", "IMA_ADPCM", 1500),
    "MS ADPCM": ("WAV", "MS_ADPCM", 1500),
    "extensible of 24 bits": ("WAVEX", "PCM_24", 1),
    "RF64": ("RF64", "PCM_16", 1),
    "W64": ("W64", "PCM_16", 1),
    "AIFF": ("AIFF", "PCM_16", 1),
    "FLAC": ("FLAC", "PCM_16", 1),
    "CAF": ("CAF", "PCM_16", 1),
    "AU": ("AU", "PCM_16", 1),
    "Vorbis": ("OGG", "VORBIS", 1500),
    "MP3": ("MP3", "MPEG_LAYER_III", 1500),
}
"""Formats under the name of a WAV, with their largest error in int16 units."""


def test_the_table_has_more_than_40_kinds() -> None:
    assert len(READ) + len(REFUSED) + len(FORMATS) + len(SPECIAL) > 60


@pytest.mark.parametrize("kind", READ)
def test_a_strange_file_has_its_samples(tmp_path: Path, kind: str) -> None:
    content, length = READ[kind]
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(decode(path, rate=RATE), PCM[:length])
    assert read_header(path) == (RATE, length / RATE)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_file_is_one_line(tmp_path: Path, kind: str) -> None:
    content, reason = REFUSED[kind]
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(path, rate=RATE)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)
    if reason not in ("empty", "silent"):
        with pytest.raises(DataError, match=r"a\.wav") as header:
            read_header(path)
        assert "\n" not in str(header.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_another_format_under_the_name_of_a_wav_has_its_samples(tmp_path: Path, kind: str) -> None:
    container, subtype, error = FORMATS[kind]
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE, format=container, subtype=subtype)
    samples = decode(path, rate=RATE)[:RATE].astype(np.int64)
    assert samples.size == RATE
    # Formats that adapt to a signal begin late.
    assert np.abs(samples - PCM)[1000:].max() <= error


def gsm(path: Path) -> None:
    soundfile.write(path, TONE, RATE, format="WAV", subtype="GSM610")


def values(*samples: float) -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, np.array(samples), RATE, subtype="FLOAT")


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "no plain file"),
    "a pipe": (os.mkfifo, "no plain file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "no plain file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "unreadable"),
    "a link to itself": (lambda path: path.symlink_to(path), "unreadable"),
    "GSM": (gsm, "unreadable"),
    "NaN": (values(0.1, float("nan")), "holds NaN"),
    "infinity": (values(0.1, float("-inf")), "holds NaN"),
    "floats of int16": (values(0.1, 30000.0), "samples up to 30000"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_recording_is_one_line(tmp_path: Path, kind: str) -> None:
    make, reason = SPECIAL[kind]
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(DataError) as caught:
        decode(path, rate=RATE)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WHOLE)
    path.chmod(0)
    with pytest.raises(DataError, match="unreadable"):
        decode(path, rate=RATE)


def test_a_single_sample_is_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", PCM[5:6], RATE)
    assert decode(tmp_path / "a.wav", rate=RATE).tolist() == [PCM[5]]


NAMES = ("x" * 251 + ".wav", "a\nb\x1b[31m.wav", "=cmd|'x'.wav", "-rf.wav", " .wav", "ü ♪.wav")


@pytest.mark.parametrize("name", NAMES)
def test_a_strange_name_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(WHOLE)
    assert list_files(to_path(tmp_path)).files == (Path(name),)
    np.testing.assert_array_equal(decode(path, rate=RATE), PCM)


def test_a_listing_leaves_out_pipes_devices_and_foreign_names(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WHOLE)
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    (tmp_path / "nothing.wav").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(WHOLE)
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    listing = list_files(to_path(tmp_path))
    assert listing.files == (Path("a.wav"),)
    assert {(str(unread.path), unread.reason) for unread in listing.unread} == {
        (r"caf\xe9.wav", "a name that is not UTF-8"),
        (r"caf\xe9", "a name that is not UTF-8"),
        ("pipe.wav", "a pipe or a device"),
        ("device.wav", "a pipe or a device"),
        ("nothing.wav", "a link to a file or folder that is not there"),
    }


def test_a_store_of_the_whole_table_keeps_what_can_be_read(tmp_path: Path) -> None:
    contents = {**{k: v for k, (v, _) in READ.items()}, **{k: v for k, (v, _) in REFUSED.items()}}
    clips = []
    for number, content in enumerate(contents.values()):
        path = tmp_path / f"{number:02d}.wav"
        path.write_bytes(content)
        clips.append(Clip("fan", "0", "train", "source", 0, path))
    store = open_store(clips, allow_defects=True, cache=tmp_path / "cache")
    assert [clip.name for clip in store.clips] == [f"{n:02d}.wav" for n in range(len(READ))]
    assert len(store.defects) == len(REFUSED)
    for number, (_, length) in enumerate(READ.values()):
        np.testing.assert_array_equal(store.waveform(number), PCM[:length])


@pytest.mark.slow
def test_a_detector_scores_or_refuses_the_whole_table(tmp_path: Path) -> None:
    detector, path = make_detector(), tmp_path / "a.wav"
    path.write_bytes(WHOLE)
    [expected] = detector.score(path, id="0")
    for kind, (content, length) in READ.items():
        path.write_bytes(content)
        [score] = detector.score(path, id="0")
        assert np.isfinite(score.score), kind
        assert (score.score == expected.score) == (length == RATE), kind
    for content, reason in REFUSED.values():
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.wav: .*{reason}"):
            detector.score(path, id="0")
