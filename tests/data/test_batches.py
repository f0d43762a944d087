"""Batches: their clips, how often and in what order; segments that score a clip."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raysearch.data.batches import (
    Batch,
    ClipSet,
    Part,
    batch_count,
    normalise,
    prefetch,
    repeat,
    segment_starts,
    segments,
    training_batches,
    validation_batches,
)
from raysearch.data.index import Clip
from raysearch.data.store import Store

SEGMENT = 4
TARGET, OTHER = 1000, 10000


def part(levels: Sequence[int], *, length: int = 7, clips: Sequence[int] | None = None) -> Part:
    """Return a part whose n-th clip is `levels[n]` in every sample, so a crop shows its clip."""
    waves = [np.full(length, level, np.int64) for level in levels]
    return part_of(waves, clips=clips)


def part_of(waves: Sequence[NDArray[np.int64]], *, clips: Sequence[int] | None = None) -> Part:
    named = tuple(Clip("m", "0", "train", "source", 0, Path(f"{n}.wav")) for n in range(len(waves)))
    store = Store(
        clips=named,
        samples=np.concatenate(waves).astype(np.int16),
        offsets=np.cumsum([0, *(wave.size for wave in waves)]),
        fingerprint="",
        mean=0.0,
        std=1.0,
        defects=(),
    )
    chosen = range(len(waves)) if clips is None else clips
    return Part(store, np.array(list(chosen), np.int64), 0.0, 1.0)


def epoch(
    target: Part, others: Sequence[Part], *, batch_size: int = 8, seed: int = 0, number: int = 0
) -> list[Batch]:
    products = np.arange(len(target.store.clips), dtype=np.int64) % 3
    return list(
        training_batches(
            ClipSet(target, products, others),
            batch_size=batch_size,
            segment=SEGMENT,
            seed=seed,
            epoch=number,
        )
    )


def levels_of(batches: Sequence[Batch]) -> list[int]:
    """Return the level of each crop of an epoch, which identifies its clip."""
    crops = np.concatenate([batch.waveforms for batch in batches])
    assert (crops == crops[:, :1]).all()
    levels: list[int] = crops[:, 0].astype(int).tolist()
    return levels


def halves(batches: Sequence[Batch]) -> tuple[list[int], list[int]]:
    """Return the levels of the target's samples and of the others'."""
    levels = np.array(levels_of(batches))
    is_target = np.concatenate([batch.products for batch in batches]) >= 0
    return levels[is_target].tolist(), levels[~is_target].tolist()


SIZES = st.integers(1, 40).map(lambda half: 2 * half)


@settings(max_examples=150, deadline=None)
@given(n=st.integers(1, 90), others=st.integers(1, 120), batch_size=SIZES)
def test_an_epoch_shows_each_target_once_beside_as_many_others(
    n: int, others: int, batch_size: int
) -> None:
    target = part(range(TARGET, TARGET + n))
    outside = part(range(OTHER, OTHER + others))
    batches = epoch(target, [outside], batch_size=batch_size)

    shown, partners = halves(batches)
    assert sorted(shown) == list(range(TARGET, TARGET + n))
    assert len(partners) == n
    assert min(partners) >= OTHER  # never the target machine
    counts = Counter(partners)
    uses = [counts[OTHER + k] for k in range(others)]
    assert max(uses) - min(uses) <= 1  # none again before all were there

    sizes = [len(batch.products) for batch in batches]
    assert len(batches) == batch_count(n, batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 2
    for batch in batches:
        assert (batch.products >= 0).sum() == len(batch.products) / 2
        assert batch.waveforms.shape == (len(batch.products), SEGMENT)
        assert batch.waveforms.dtype == np.float32


@pytest.mark.parametrize(("n", "size", "count"), [(1, 2, 1), (64, 128, 1), (65, 128, 2), (9, 6, 3)])
def test_the_number_of_batches_is_known_beforehand(n: int, size: int, count: int) -> None:
    assert batch_count(n, size) == count


def test_a_sample_carries_the_product_of_its_clip() -> None:
    target = part(range(TARGET, TARGET + 20))
    for batch in epoch(target, [part([OTHER])]):
        for wave, product in zip(batch.waveforms, batch.products, strict=True):
            assert product == (-1 if wave[0] == OTHER else (int(wave[0]) - TARGET) % 3)


def test_only_the_clips_of_a_part_are_shown() -> None:
    target = part(range(TARGET, TARGET + 20), clips=[3, 7, 11])
    outside = part(range(OTHER, OTHER + 20), clips=[0, 19])
    shown, partners = halves(epoch(target, [outside]))
    assert sorted(shown) == [TARGET + 3, TARGET + 7, TARGET + 11]
    assert set(partners) == {OTHER, OTHER + 19}


def test_every_other_machine_type_is_among_the_others() -> None:
    target = part(range(TARGET, TARGET + 30))
    others = [part([OTHER + k] * 5) for k in range(6)]
    _, partners = halves(epoch(target, others))
    assert Counter(partners) == {OTHER + k: 5 for k in range(6)}


def noise(count: int, length: int = 50) -> Part:
    rng = np.random.default_rng(0)
    return part_of([rng.integers(-9999, 9999, length) for _ in range(count)])


def same(left: Sequence[Batch], right: Sequence[Batch]) -> bool:
    return all(
        np.array_equal(a.waveforms, b.waveforms) and np.array_equal(a.products, b.products)
        for a, b in zip(left, right, strict=True)
    )


def test_an_epoch_follows_from_its_seed_and_number_alone() -> None:
    target, others = noise(20), [noise(30)]
    first = epoch(target, others, seed=3, number=5)
    assert same(first, epoch(target, others, seed=3, number=5))
    assert not same(first, epoch(target, others, seed=3, number=6))
    assert not same(first, epoch(target, others, seed=4, number=5))


def test_the_order_and_the_partners_change_from_epoch_to_epoch() -> None:
    target, others = part(range(TARGET, TARGET + 40)), [part(range(OTHER, OTHER + 200))]
    epochs = [halves(epoch(target, others, number=number)) for number in range(8)]
    assert len({tuple(shown) for shown, _ in epochs}) == 8
    assert len({frozenset(partners) for _, partners in epochs}) == 8


def test_crops_start_anywhere() -> None:
    target = part_of([np.arange(7)])
    starts = [epoch(target, [target], number=k)[0].waveforms[0, 0] for k in range(200)]
    assert {int(start) for start in starts} == {0, 1, 2, 3}


def test_a_crop_spans_from_the_first_start_to_the_last() -> None:
    def crops(length: int) -> set[tuple[float, ...]]:
        target = part_of([np.arange(length)])
        batches = [epoch(target, [], number=number)[0] for number in range(200)]
        return {tuple(batch.waveforms[0].tolist()) for batch in batches}

    assert crops(10) == {tuple(range(start, start + SEGMENT)) for start in range(7)}
    assert crops(4) == {(0, 1, 2, 3)}
    assert crops(3) == {(0, 1, 2, 0)}


def test_each_machine_type_is_normalised_by_its_own_figures() -> None:
    target = Part(part([120]).store, np.array([0]), 100.0, 10.0)
    other = Part(part([-40]).store, np.array([0]), -50.0, 4.0)
    (batch,) = epoch(target, [other])
    assert batch.waveforms[:, 0].tolist() == [2.0, 2.5]


def test_normalised_samples_have_mean_0_and_variance_1() -> None:
    wave = np.random.default_rng(0).integers(-3000, 9000, 10000).astype(np.int16)
    normalised = normalise(wave, float(wave.mean()), float(wave.std()))
    assert normalised.dtype == np.float32
    assert normalised.mean() == pytest.approx(0, abs=1e-5)
    assert normalised.std() == pytest.approx(1, abs=1e-5)


def test_some_segments_of_a_batch_are_those_of_the_whole() -> None:
    (batch,) = epoch(noise(3), [noise(4)])
    for rows in (np.array([4, 0]), batch.products >= 0):
        few = batch.select(rows)
        np.testing.assert_array_equal(few.waveforms, batch.waveforms[rows])
        np.testing.assert_array_equal(few.products, batch.products[rows])
        assert few.size == len(few.products)


def test_joined_batches_are_read_one_after_the_other() -> None:
    batches = [
        replace(batch, networks=np.full(batch.size, k))
        for k, others in enumerate(([noise(4)], [noise(5), noise(6)], []))
        for batch in epoch(noise(3), others)
    ]
    joined = Batch.join(batches)
    np.testing.assert_array_equal(joined.waveforms, np.concatenate([b.waveforms for b in batches]))
    np.testing.assert_array_equal(joined.products, np.concatenate([b.products for b in batches]))
    np.testing.assert_array_equal(joined.networks, np.repeat([0, 1, 2], [6, 6, 3]))


# Validation


def check(target: Part, others: Sequence[Part], batch_size: int) -> list[Batch]:
    products = np.arange(len(target.store.clips), dtype=np.int64) % 3
    clips = ClipSet(target, products, others)
    return list(validation_batches(clips, batch_size=batch_size, segment=SEGMENT))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 30),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    batch_size=SIZES,
)
def test_validation_hears_every_held_clip_once_and_others_in_turn(
    n: int, sizes: list[int], batch_size: int
) -> None:
    target = part(range(TARGET, TARGET + n))
    others = [
        part(range(OTHER + 100 * k, OTHER + 100 * k + 20), clips=range(size))
        for k, size in enumerate(sizes)
    ]
    shown, partners = halves(check(target, others, batch_size))
    assert shown == list(range(TARGET, TARGET + n))
    assert len(partners) == len(set(partners)) == min(n, sum(sizes))
    per_machine = [sum((p - OTHER) // 100 == k for p in partners) for k in range(len(sizes))]
    for count, size in zip(per_machine, sizes, strict=True):
        assert count == size or max(per_machine) - count <= 1


def test_validation_hears_every_id_of_the_others() -> None:
    # Stores hold their clips by ID: the first few are all of one.
    outside = part([OTHER + n // 10 for n in range(60)])
    clips = tuple(replace(c, id=str(n // 10)) for n, c in enumerate(outside.store.clips))
    outside = replace(outside, store=replace(outside.store, clips=clips))
    _, partners = halves(check(part(range(TARGET, TARGET + 12)), [outside], 8))
    assert Counter(partners) == {OTHER + k: 2 for k in range(6)}


def test_validation_is_the_same_every_time_and_starts_at_the_beginning() -> None:
    target, others = noise(5), [noise(9)]
    assert same(check(target, others, 4), check(target, others, 4))
    (batch,) = check(part_of([np.arange(9)]), [], 8)
    assert batch.waveforms.tolist() == [[0, 1, 2, 3]]
    assert batch.products.tolist() == [0]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_validation_may_hear_clips_to_their_ends(batch_size: int) -> None:
    target = part_of([np.arange(9), np.arange(100, 108), np.arange(200, 203)])
    clips = ClipSet(target, np.arange(3, dtype=np.int64), [part_of([np.arange(300, 305)])])
    batches = list(validation_batches(clips, batch_size=batch_size, segment=SEGMENT, whole=True))
    assert all(len(batch.products) <= batch_size for batch in batches)
    waves = [wave for batch in batches for wave in batch.waveforms.tolist()]
    products = [product for batch in batches for product in batch.products.tolist()]
    assert list(zip(products, waves, strict=True)) == [
        (0, [0, 1, 2, 3]),
        (0, [2, 3, 4, 5]),
        (0, [5, 6, 7, 8]),
        (1, [100, 101, 102, 103]),
        (1, [104, 105, 106, 107]),
        (2, [200, 201, 202, 200]),
        (-1, [300, 301, 302, 303]),
        (-1, [301, 302, 303, 304]),
    ]


# Segments


@pytest.mark.parametrize(
    ("length", "segment", "count", "starts"),
    [
        (160000, 32000, 10, [*range(0, 9 * 14222, 14222), 128000]),
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 4, [0, 2, 4, 7]),
        (8, 4, 1, [0, 4]),
        # A start counts once, however many segments there should be.
        (4, 4, 1, [0]),
        (4, 4, 3, [0]),
        (5, 4, 3, [0, 1]),
        (6, 4, 3, [0, 1, 2]),
        # Longer than the segments reach: 48 s have hops of at most 2 s.
        (768000, 32000, 10, [32000 * k for k in range(24)]),
        (21, 4, 3, [0, 3, 6, 10, 13, 17]),
        (15, 4, 4, [0, 3, 7, 11]),
        (330, 19, 20, [311 * k // 19 for k in range(20)]),
        (10, 4, 1, [0, 3, 6]),
    ],
)
def test_segments_start_at_equal_hops_and_the_last_at_the_end(
    length: int, segment: int, count: int, starts: list[int]
) -> None:
    assert segment_starts(length, segment, count).tolist() == starts


@given(segment=st.integers(1, 50), beyond=st.integers(0, 500), count=st.integers(1, 20))
def test_segments_cover_every_sample_of_a_clip(segment: int, beyond: int, count: int) -> None:
    starts = segment_starts(segment + beyond, segment, count)
    assert (starts[0], starts[-1]) == (0, beyond)
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= segment).all()
    assert starts.size >= min(count, beyond + 1)


@given(segment=st.integers(10, 50), beyond=st.integers(20, 500), count=st.integers(2, 20))
def test_segments_that_cover_a_clip_are_those_of_the_paper(
    segment: int, beyond: int, count: int
) -> None:
    hop = beyond // (count - 1)
    paper = [*(hop * k for k in range(count - 1)), beyond]
    if max(np.diff(paper)) <= segment:
        assert segment_starts(segment + beyond, segment, count).tolist() == paper


def test_segments_are_normalised_cuts_of_the_clip() -> None:
    cuts = segments(np.arange(10, dtype=np.int16), SEGMENT, 3, mean=1.0, std=2.0)
    expected = (np.array([[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]) - 1) / 2
    np.testing.assert_array_equal(cuts, expected)


def test_a_short_clip_is_repeated_until_it_fills_a_segment() -> None:
    wave = np.array([5, 6, 7], np.int16)
    assert repeat(wave, 8).tolist() == [5, 6, 7, 5, 6, 7, 5, 6]
    assert repeat(wave, 3) is wave
    assert segments(wave, 4, 2, 0.0, 1.0).tolist() == [[5, 6, 7, 5]]


# Preparing ahead


def test_ahead_changes_nothing() -> None:
    target, others = noise(20), [noise(30)]
    prepared = list(prefetch(iter(epoch(target, others))))
    assert same(prepared, epoch(target, others))


def test_ahead_hands_on_an_error() -> None:
    def broken() -> Iterator[Batch]:
        yield epoch(noise(4), [noise(4)])[0]
        raise OSError("the disk is gone")

    batches = prefetch(broken())
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
