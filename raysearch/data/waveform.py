"""Samples of a recording of any length: in memory, or read from a file block by block."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from raysearch.data.batches import Int64, repeat
from raysearch.data.decode import Int16


@dataclass(frozen=True)
class Waveform:
    """Samples of one channel.

    Attributes:
        length: number of samples, L.
        blocks: yields the samples (L,) in blocks, at each call from the first one on.
    """

    length: int
    blocks: Callable[[], Iterator[Int16]]

    @classmethod
    def of(cls, wave: Int16) -> Self:
        """Return the waveform of samples (L,) in memory."""
        return cls(wave.size, lambda: iter([wave]))

    def fill(self, segment: int) -> "Waveform":
        """Repeat a waveform that is shorter than a segment until it fills a segment."""
        if self.length >= segment:
            return self
        return Waveform.of(repeat(np.concatenate([*self.blocks()]), segment))

    def segments(self, starts: Int64, segment: int) -> Iterator[Int16]:
        """Yield the samples (T,) of segments, with a block and a segment in memory.

        Args:
            starts: of the segments (S,), ascending.
            segment: T.
        """
        blocks = self.blocks()
        window, begin = np.empty(0, np.int16), 0
        for start in starts.tolist():
            while begin + window.size < start + segment:
                rest = window[start - begin :]
                begin += window.size - rest.size
                block = next(blocks)
                window = np.concatenate([rest, block]) if rest.size else block
            yield window[start - begin : start - begin + segment]
