"""Batches of training crops, and the overlapping segments that score a clip.

Shape letters: B samples of a batch, T samples of a segment, S segments of a clip.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.data.decode import Int16
from raysearch.data.store import Store

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Clips of one store with the mean and standard deviation that normalise them."""

    store: Store
    clips: Int64
    mean: float
    std: float

    def cut(self, index: int, segment: int, start: int) -> Float32:
        """Return (segment,) normalised samples of a clip from a start on."""
        wave = repeat(self.store.waveform(index), segment)
        return normalise(wave[start : start + segment], self.mean, self.std)

    def crop(self, index: int, segment: int, position: float) -> Float32:
        """Return (segment,) normalised samples of a clip.

        Args:
            index: of the clip in its store.
            segment: T.
            position: of the start, in [0, 1), from the first possible to the last.
        """
        wave = repeat(self.store.waveform(index), segment)
        start = int(position * (wave.size - segment + 1))
        return normalise(wave[start : start + segment], self.mean, self.std)


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
    """Training or validation input.

    Attributes:
        waveforms: (B, T).
        products: (B,) position of the product ID among the target's, -1 for other machines.
        networks: (B,) number of the network that a sample is for; None if there is one network.
    """

    waveforms: Float32
    products: Int64
    networks: Int64 | None = None


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


def split_clips(
    ids: Sequence[str], share: float, seed: int, recordings: Sequence[str] = ()
) -> tuple[Int64, Int64]:
    """Split training clips into a training and a validation part, stratified by ID.

    Clips of one recording stay together, unless an ID has one recording only.

    Args:
        ids: product ID of each clip.
        share: of each ID's clips that goes to validation; at least 1 clip, never the only clip.
        seed: of the draw.
        recordings: recording of each clip; none, if every clip is a recording by itself.

    Returns:
        Sorted positions of the training and of the validation clips.
    """
    rng = np.random.default_rng([seed, _SPLIT])
    table = np.array(ids)
    chosen = []
    for identity in sorted(set(ids)):
        members = np.flatnonzero(table == identity)
        count = min(max(1, round(share * members.size)), members.size - 1)
        groups = _group(members, recordings) if recordings else []
        if 1 < len(groups) < members.size:
            order = rng.permutation(len(groups))
            chosen.append(_whole_recordings([groups[k] for k in order], count))
        else:
            chosen.append(rng.permutation(members)[:count])
    validation = np.sort(np.concatenate(chosen)).astype(np.int64)
    return np.setdiff1d(np.arange(len(ids)), validation), validation


def _group(members: Int64, recordings: Sequence[str]) -> list[Int64]:
    """Group the positions of clips by recording."""
    groups: dict[str, list[int]] = {}
    for member in members.tolist():
        groups.setdefault(recordings[member], []).append(member)
    return [np.array(group, np.int64) for group in groups.values()]


def _whole_recordings(groups: Sequence[Int64], count: int) -> Int64:
    """Choose recordings in their order, as long as they have no more clips in all than `count`.

    Where the first are all longer, the shortest of all is chosen.
    """
    chosen: list[Int64] = []
    for group in groups:
        if sum(part.size for part in chosen) + group.size <= count:
            chosen.append(group)
    return np.concatenate(chosen or [min(groups, key=len)])


_SPLIT, _EPOCH = 1, 2
"""Streams of random numbers, so that two uses of a seed do not share their draws."""


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
    rng = np.random.default_rng([seed, _EPOCH, epoch])
    target = clips.target
    pool = [(part, index) for part in clips.others for index in part.clips]
    order = rng.permutation(target.clips)
    rounds = -(-order.size // len(pool)) if pool else 0
    partners = [pool[k] for _ in range(rounds) for k in rng.permutation(len(pool))]
    positions = rng.random((2, order.size))
    count = batch_count(order.size, batch_size, with_others=bool(pool))
    for rows in np.array_split(np.arange(order.size), count):
        crops = [target.crop(order[i], segment, positions[0, i]) for i in rows]
        if partners:
            pairs = [(*partners[i], positions[1, i]) for i in rows]
            crops += [part.crop(index, segment, position) for part, index, position in pairs]
        unknown = np.full(len(crops) - rows.size, -1, np.int64)
        yield Batch(np.stack(crops), np.concatenate([clips.products[order[rows]], unknown]))


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
    target = clips.target
    groups = [group for part in clips.others for group in _group_by_id(part)]
    pool = [
        (part, index)
        for turn in range(max((len(indices) for _, indices in groups), default=0))
        for part, indices in groups
        for index in indices[turn : turn + 1]
    ][: target.clips.size]
    rows = [(target, i, int(clips.products[i])) for i in target.clips]
    rows += [(part, i, -1) for part, i in pool]
    cuts = [
        (part, index, product, start)
        for part, index, product in rows
        for start in (_covering(part, index, segment) if whole else [0])
    ]
    for first in range(0, len(cuts), batch_size):
        chunk = cuts[first : first + batch_size]
        waves = np.stack([part.cut(index, segment, start) for part, index, _, start in chunk])
        yield Batch(waves, np.array([product for _, _, product, _ in chunk], np.int64))


def _covering(part: Part, index: int, segment: int) -> list[int]:
    """Return the starts of as many segments of a clip as cover it."""
    length = max(segment, part.store.waveform(index).size)
    starts: list[int] = segment_starts(length, segment, -(-length // segment)).tolist()
    return starts


def _group_by_id(part: Part) -> list[tuple[Part, list[int]]]:
    """Group the clips of a part by product ID."""
    groups: dict[str, list[int]] = {}
    for index in part.clips.tolist():
        groups.setdefault(part.store.clips[index].id, []).append(index)
    return [(part, indices) for indices in groups.values()]


def prefetch(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """Prepare the next batches in a thread while the current batch is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(next, batches, None) for _ in range(depth)]
        while (batch := pending.pop(0).result()) is not None:
            pending.append(pool.submit(next, batches, None))
            yield batch
