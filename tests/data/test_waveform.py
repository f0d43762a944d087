"""Segments of a waveform, in memory or in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.data.batches import segment_starts
from raysearch.data.waveform import Waveform


def in_blocks(wave: np.ndarray, sizes: list[int]) -> Waveform:
    """Return a waveform whose blocks have these sizes, and the rest of the samples."""
    return Waveform(wave.size, lambda: iter(np.split(wave, np.cumsum(sizes))))


@given(
    length=st.integers(1, 200),
    segment=st.integers(1, 60),
    count=st.integers(1, 12),
    sizes=st.lists(st.integers(0, 50), max_size=8),
)
def test_blocks_of_any_size_have_the_segments_of_the_whole(
    length: int, segment: int, count: int, sizes: list[int]
) -> None:
    wave = np.arange(1, length + 1, dtype=np.int16)
    full = np.resize(wave, max(length, segment))
    starts = segment_starts(full.size, segment, count)
    waveform = in_blocks(wave, sizes).fill(segment)
    cut = [piece.tolist() for piece in waveform.segments(starts, segment)]
    assert cut == [full[start : start + segment].tolist() for start in starts]


@pytest.mark.parametrize("sizes", [[], [10, 0, 35]])
def test_starts_may_leave_samples_out(sizes: list[int]) -> None:
    waveform = in_blocks(np.arange(60, dtype=np.int16), sizes)
    pieces = waveform.segments(np.array([3, 20, 57]), 3)
    assert [piece.tolist() for piece in pieces] == [[3, 4, 5], [20, 21, 22], [57, 58, 59]]
