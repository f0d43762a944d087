"""Batches of training crops, and the overlapping segments that score a clip.

Shape letters: B samples of a batch, T samples of a segment, S segments of a clip.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from raysearch.data.decode import Int16
from raysearch.data.store import Store

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Clips of one store with the mean and standard deviation that normalise them."""

    store: Store
    clips: Int64
    mean: float
    std: float


@dataclass(frozen=True)
class ClipSet:
    """Clips that an epoch or a validation draws from.

    Attributes:
        target: clips of the target machine type.
        products: (clips of the target's store,) position of each clip's ID among the target's.
        others: clips of the other machine types.
    """

    target: Part
    products: Int64
    others: Sequence[Part]


@dataclass(frozen=True)
class Batch:
    """Training or validation input: segments of clips, which are cut when they are read.

    Attributes:
        parts: with the clips of the segments.
        part: (B,) position of each segment's part in `parts`.
        clip: (B,) index of its clip in the store of that part.
        start: (B,) its first sample; a clip shorter than a segment is repeated.
        segment: T.
        products: (B,) position of the product ID among the target's, -1 for other machines.
        networks: (B,) number of the network that a sample is for; None if there is one network.
    """

    parts: tuple[Part, ...]
    part: Int64
    clip: Int64
    start: Int64
    segment: int
    products: Int64
    networks: Int64 | None = None

    @property
    def size(self) -> int:
        """Number of segments, B."""
        return len(self.products)

    @property
    def lengths(self) -> Int64:
        """Number of samples (B,) of the clip of each segment."""
        lengths = [part.store.lengths for part in self.parts]
        first = np.cumsum([0, *(len(of_part) for of_part in lengths)])
        return np.asarray(np.concatenate(lengths)[first[self.part] + self.clip])

    def select(self, rows: NDArray[Any] | Sequence[int]) -> "Batch":
        """Return some of the segments, chosen by positions or by a mask (B,)."""
        return replace(
            self,
            part=self.part[rows],
            clip=self.clip[rows],
            start=self.start[rows],
            products=self.products[rows],
            networks=None if self.networks is None else self.networks[rows],
        )

    @cached_property
    def waveforms(self) -> Float32:
        """Normalised samples (B, T)."""
        mean, std = self.scale.T[:, :, None]
        waves = self.samples().astype(np.float32)
        waves -= mean
        waves /= std
        return waves

    @property
    def scale(self) -> Float32:
        """Mean and standard deviation (B, 2) that normalise each segment."""
        values = np.array([(part.mean, part.std) for part in self.parts], np.float32)
        return np.asarray(values[self.part])

    def samples(self, out: Int16 | None = None) -> Int16:
        """Return the samples (B, T) as they are stored.

        Args:
            out: array (B, T) that receives them; None makes an array.
        """
        cuts = np.empty((self.size, self.segment), np.int16) if out is None else out
        places = zip(self.part.tolist(), self.clip.tolist(), self.start.tolist(), strict=True)
        for row, (part, clip, start) in enumerate(places):
            wave = repeat(self.parts[part].store.waveform(clip), self.segment)
            cuts[row] = wave[start : start + self.segment]
        return cuts

    @classmethod
    def join(cls, batches: Sequence["Batch"]) -> "Batch":
        """Join batches of segments of one length, each of a network of its own."""
        first = np.cumsum([0, *(len(batch.parts) for batch in batches)])
        networks = [batch.networks for batch in batches if batch.networks is not None]
        return cls(
            tuple(part for batch in batches for part in batch.parts),
            np.concatenate([batch.part + k for batch, k in zip(batches, first, strict=False)]),
            np.concatenate([batch.clip for batch in batches]),
            np.concatenate([batch.start for batch in batches]),
            batches[0].segment,
            np.concatenate([batch.products for batch in batches]),
            np.concatenate(networks) if networks else None,
        )


def normalise(wave: Int16, mean: float, std: float) -> Float32:
    """Scale int16 samples to mean 0 and variance 1 of a machine type."""
    return ((wave.astype(np.float32) - np.float32(mean)) / np.float32(std)).astype(np.float32)


def repeat(wave: Int16, segment: int) -> Int16:
    """Repeat a clip that is shorter than a segment until it fills a segment."""
    return wave if wave.size >= segment else np.resize(wave, segment)


def segment_starts(length: int, segment: int, count: int) -> Int64:
    """Return the starts (S,) of the segments of a clip: distinct, the last at the clip's end.

    S is `count`, with the paper's hops, ⌊(L - T) / (S - 1)⌋. Where these would leave samples
    between two segments, the hops are even, and S grows until none is left. A clip that is hardly
    longer than a segment has no more segments than starts, a clip of one segment has one.

    Args:
        length: samples of the clip, L, at least `segment`.
        segment: T.
        count: number of segments of a clip that it covers.
    """
    assert length >= segment
    last = length - segment
    if last == 0:
        return np.zeros(1, np.int64)
    hops = min(max(1, count - 1), last)
    starts = np.append(np.arange(hops, dtype=np.int64) * (last // hops), last)
    if np.diff(starts).max() <= segment:
        return starts
    hops = max(hops, -(-last // segment))
    return np.arange(hops + 1, dtype=np.int64) * last // hops


def segments(wave: Int16, segment: int, count: int, mean: float, std: float) -> Float32:
    """Return the (S, T) normalised scoring segments of a clip."""
    full = repeat(wave, segment)
    return cut(full, segment_starts(full.size, segment, count), segment, mean, std)


def cut(wave: Int16, starts: Int64, segment: int, mean: float, std: float) -> Float32:
    """Return the (S, T) normalised segments of a clip that begin at `starts` (S,)."""
    return np.stack([normalise(wave[s : s + segment], mean, std) for s in starts])


_EPOCH = 2
"""Stream of random numbers, which shares no draws with that of the split."""


def batch_count(clips: int, batch_size: int, *, with_others: bool = True) -> int:
    """Return the number of batches of an epoch.

    Args:
        clips: number of clips of the target.
        batch_size: upper bound of the samples of a batch.
        with_others: half of each batch are clips of other machine types.
    """
    return -(-clips // (batch_size // 2 if with_others else batch_size))


def training_batches(
    clips: ClipSet, *, batch_size: int, segment: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """Yield an epoch of batches of random crops: 1:1 with other machine types if there are any.

    Each clip of the target is shown exactly once, in batches whose numbers of targets differ by
    one at the most (no small remainder). Clips of other machine types are drawn without
    replacement over all types; the draw repeats when they are fewer. All draws follow from
    (seed, epoch), so the number of the epoch is the whole state of the generator.

    Args:
        clips: training clips.
        batch_size: upper bound of B.
        segment: T.
        seed: of the trial.
        epoch: from 0.
    """
    drawn = _draw(clips, segment, np.random.default_rng([seed, _EPOCH, epoch]))
    targets = clips.target.clips.size
    count = batch_count(targets, batch_size, with_others=drawn.size > targets)
    for rows in np.array_split(np.arange(targets), count):
        yield drawn.select(np.concatenate([rows, rows + targets]) if drawn.size > targets else rows)


def _draw(clips: ClipSet, segment: int, rng: np.random.Generator) -> Batch:
    """Draw an epoch as a single batch: a crop of every target, then the partners of all."""
    order = rng.permutation(clips.target.clips)
    # Part and clip of every clip of the other machine types.
    sizes = [part.clips.size for part in clips.others]
    pool_part = np.repeat(np.arange(len(sizes)) + 1, sizes)
    pool_clip = np.concatenate([order[:0], *(part.clips for part in clips.others)])
    rounds = -(-order.size // pool_clip.size) if pool_clip.size else 0
    orders = [rng.permutation(pool_clip.size) for _ in range(rounds)]
    partners = np.concatenate([order[:0], *orders])[: order.size]
    part = np.concatenate([np.zeros_like(order), pool_part[partners]])
    clip = np.concatenate([order, pool_clip[partners]])
    positions = rng.random((2, order.size)).ravel()[: part.size]
    parts = (clips.target, *clips.others)
    products = np.concatenate([clips.products[order], np.full(partners.size, -1)])
    drawn = Batch(parts, part, clip, np.zeros_like(part), segment, products)
    last = np.maximum(drawn.lengths - segment, 0)
    return replace(drawn, start=(positions * (last + 1)).astype(np.int64))


def validation_batches(
    clips: ClipSet, *, batch_size: int, segment: int, whole: bool = False
) -> Iterator[Batch]:
    """Yield the first segment of every validation clip of the target, and at most as many others.

    Other machine types and their product IDs take turns, so that each is represented.

    Args:
        clips: validation clips.
        batch_size: upper bound of B.
        segment: T.
        whole: yield as many segments of a clip as cover it, with the least overlap.
    """
    parts = (clips.target, *clips.others)
    groups = [
        [(number, index) for index in indices]
        for number, part in enumerate(clips.others, 1)
        for indices in _group_by_id(part)
    ]
    targets = [(0, index) for index in clips.target.clips.tolist()]
    turns = [pair for turn in zip_longest(*groups) for pair in turn if pair is not None]
    cuts = [
        (number, index, start)
        for number, index in targets + turns[: len(targets)]
        for start in (_covering(parts[number], index, segment) if whole else [0])
    ]
    part, clip, start = np.array(cuts, np.int64).reshape(-1, 3).T
    products = np.where(part == 0, clips.products[np.where(part == 0, clip, 0)], -1)
    held_out = Batch(parts, part, clip, start, segment, products)
    for first in range(0, len(cuts), batch_size):
        yield held_out.select(np.arange(first, min(first + batch_size, len(cuts))))


def _covering(part: Part, index: int, segment: int) -> list[int]:
    """Return the starts of as many segments of a clip as cover it."""
    length = max(segment, part.store.waveform(index).size)
    starts: list[int] = segment_starts(length, segment, -(-length // segment)).tolist()
    return starts


def _group_by_id(part: Part) -> list[list[int]]:
    """Group the clips of a part by product ID."""
    groups: dict[str, list[int]] = {}
    for index in part.clips.tolist():
        groups.setdefault(part.store.clips[index].id, []).append(index)
    return list(groups.values())


def prefetch(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Prepare the next items in a thread while the current item is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(next, items, None) for _ in range(depth)]
        while (item := pending.pop(0).result()) is not None:
            pending.append(pool.submit(next, items, None))
            yield item
