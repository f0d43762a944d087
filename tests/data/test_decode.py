"""Decoding of long recordings, block by block."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data import decode as module
from raysearch.data.decode import decode
from raysearch.errors import DataError


def write(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("channel", [None, 1])
@pytest.mark.parametrize("block", [1000, 4096, 48000])
def test_blocks_make_the_samples_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, channel: int | None, block: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (3 * rate + 7, 2)).astype(np.float32)
    path = write(tmp_path / "a.wav", noise, rate)
    whole = decode(path, rate=16000, channel=channel)
    monkeypatch.setattr(module, "BLOCK", block)
    np.testing.assert_array_equal(decode(path, rate=16000, channel=channel), whole)


@pytest.mark.parametrize(
    ("level", "channel", "reason"),
    [
        (0.0, None, "silent"),
        (np.nan, None, "NaN"),
        (0.1, 2, "no channel 2: has 1"),
        (30.0, None, "beyond"),
    ],
)
def test_a_long_recording_is_refused_as_a_short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    level: float,
    channel: int | None,
    reason: str,
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    samples = np.zeros(2500, np.float32)
    samples[-1] = level
    path = write(tmp_path / "a.wav", samples, 16000)
    with pytest.raises(DataError, match=reason):
        decode(path, rate=16000, channel=channel)


def test_a_pause_longer_than_a_block_is_not_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    samples = np.zeros(5500, np.float32)
    samples[-1] = 0.5
    assert decode(write(tmp_path / "a.wav", samples, 16000), rate=16000)[-1] == 16384


def test_the_memory_of_channels_is_that_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 16000)
    path = write(tmp_path / "a.wav", np.full((60 * 16000, 8), 0.1, np.float32), 16000)
    tracemalloc.start()
    pcm = decode(path, rate=16000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The result twice, for its parts are joined; at once it would be sixteen times.
    assert peak < 3 * pcm.nbytes
