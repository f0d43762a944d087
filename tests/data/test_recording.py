"""A recording to score, read block by block where it is long."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data import decode as module
from raysearch.data.decode import decode
from raysearch.data.recording import open_recording
from raysearch.errors import DataError


def write(path: Path, seconds: float, rate: int = 16000) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    soundfile.write(path, noise, rate)
    return path


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("block", [1000, 1 << 22])
def test_the_samples_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, block: int
) -> None:
    path = write(tmp_path / "a.flac", 2, rate)
    expected = decode(path, rate=16000)
    monkeypatch.setattr(module, "BLOCK", block)
    waveform = open_recording(path, None, rate=16000, channel=None)
    assert waveform.length == expected.size
    for _ in range(2):  # a detector with a network for each ID reads a file again
        blocks = [*waveform.blocks()]
        assert (len(blocks) > 1) == (block == 1000)
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_a_long_file_is_refused_before_its_samples_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    soundfile.write(tmp_path / "a.wav", np.zeros(5000), 16000)
    with pytest.raises(DataError, match=r"a\.wav: silent"):
        open_recording(tmp_path / "a.wav", None, rate=16000, channel=None)


def test_a_file_that_becomes_shorter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    waveform = open_recording(write(tmp_path / "a.wav", 2), None, rate=16000, channel=None)
    blocks = waveform.blocks()
    next(blocks)
    write(tmp_path / "a.wav", 1)
    with pytest.raises(DataError, match=r"a\.wav: has become shorter while it was scored"):
        list(waveform.blocks())
