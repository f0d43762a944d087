"""Clips -> embeddings of their segments."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.data.waveform import Waveform
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.training.embedding import CLIPS_AT_ONCE, ClipEmbeddings, Embedder
from raysearch.training.network import best_device, frontend, new_encoder
from tests.tiny import TEN, open_valve


@pytest.fixture(scope="module")
def data(demo_data: Path) -> TrialData:
    return open_valve(demo_data)


@pytest.fixture(scope="module")
def encoder(data: TrialData) -> Encoder:
    torch.manual_seed(0)
    front, device = frontend(TEN).to(best_device()), best_device()
    encoder = new_encoder(TEN, 6, pretrained=False).to(device)
    waves = np.stack([data.target.waveform(i)[:32000] for i in range(32)]) / data.target.std
    # A fresh encoder maps all clips to nearly one point until its statistics have seen some.
    with torch.no_grad():
        for _ in range(20):
            encoder.embed(front(torch.tensor(waves, dtype=torch.float32, device=device)))
    return encoder.eval()


def whole(data: TrialData) -> Part:
    store = data.target
    return Part(store, np.arange(len(store.clips)), store.mean, store.std)


def test_each_clip_has_its_overlapping_segments_in_order(data: TrialData, encoder: Encoder) -> None:
    part, clips = whole(data), [7, 2, 30]
    embeddings = Embedder(encoder, TEN).clips(part, clips)
    assert embeddings.counts.tolist() == [10, 10, 10]
    assert embeddings.rows.shape == (30, 128)
    assert embeddings.rows.dtype == np.float32
    for row, clip in zip(embeddings.split(), clips, strict=True):
        wave = (part.store.waveform(clip).astype(np.float32) - part.mean) / part.std
        assert wave.size == 48000
        # Ten segments of 2 s out of 3 s: hops of 16000 // 9, the last at the very end.
        starts = [*range(0, 9 * 1777, 1777), 16000]
        cut = np.stack([wave[s : s + 32000] for s in starts]).astype(np.float32)
        np.testing.assert_allclose(row, Embedder(encoder, TEN).segments(cut), rtol=1e-3, atol=1e-4)


def test_more_clips_than_are_embedded_at_once(data: TrialData, encoder: Encoder) -> None:
    part, options = whole(data), TEN.model_copy(update={"segments": 2})
    clips = list(range(CLIPS_AT_ONCE + 3))
    together = Embedder(encoder, options).clips(part, clips).rows
    assert together.shape == (2 * (CLIPS_AT_ONCE + 3), 128)
    alone = np.concatenate([Embedder(encoder, options).clips(part, [i]).rows for i in clips])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert np.ptp(together, axis=0).max() > 1e-2  # clips differ by more than that


def test_a_clip_shorter_than_a_segment_is_repeated(data: TrialData, encoder: Encoder) -> None:
    options = TEN.model_copy(update={"segment_seconds": 4.0})
    embeddings = Embedder(encoder, options).clips(whole(data), [0])
    assert embeddings.counts.tolist() == [1]
    twice = np.resize(whole(data).store.waveform(0), 64000)
    wave = (twice.astype(np.float32) - data.target.mean) / data.target.std
    expected = Embedder(encoder, options).segments(wave[None].astype(np.float32))
    np.testing.assert_allclose(embeddings.rows, expected, rtol=1e-3, atol=1e-4)


def embed(embedder: Embedder, part: Part, wave: np.ndarray) -> np.ndarray:
    return np.concatenate([*embedder.blocks(Waveform.of(wave), part.mean, part.std, "0")])


def of_lengths(data: TrialData, *seconds: float) -> Part:
    """Return clips of these lengths, cut from the training clips joined end to end."""
    ends = np.cumsum([round(16000 * length) for length in seconds])
    store = replace(
        data.target,
        clips=data.target.clips[: len(seconds)],
        samples=np.resize(data.target.samples, ends[-1]),
        offsets=np.append(0, ends),
    )
    return Part(store, np.arange(len(seconds)), store.mean, store.std)


def test_clips_of_unequal_lengths_have_the_segments_that_cover_each(
    data: TrialData, encoder: Encoder
) -> None:
    part = of_lengths(data, 3, 1, 48, 2, 10)
    embedder = Embedder(encoder, TEN)
    together = embedder.clips(part, [2, 0, 1, 4, 3])
    assert together.counts.tolist() == [24, 10, 1, 10, 1]
    for rows, clip in zip(together.split(), [2, 0, 1, 4, 3], strict=True):
        alone = embed(embedder, part, part.store.waveform(clip))
        np.testing.assert_allclose(rows, alone, rtol=1e-3, atol=1e-4)


def test_an_anomaly_between_the_hops_of_ten_segments_is_heard(
    data: TrialData, encoder: Encoder
) -> None:
    part, embedder = of_lengths(data, 48), Embedder(encoder, TEN)
    clean = part.store.waveform(0)
    loud = clean.copy()
    hop = (48 * 16000 - 32000) // 9
    for start in range(0, 9 * hop, hop):
        loud[start + 32000 : start + hop] = 30000 * np.sign(np.sin(np.arange(hop - 32000)))
    before, after = (embed(embedder, part, wave) for wave in (clean, loud))
    assert (np.abs(after - before).max(axis=1) > 0.1).sum() > 12


def test_some_clips_are_selected_by_position_or_mask() -> None:
    clips = [np.full((count, 2), float(count)) for count in (3, 1, 2)]
    embeddings = ClipEmbeddings.join(clips)
    assert len(embeddings) == 3
    assert [len(rows) for rows in embeddings.split()] == [3, 1, 2]
    assert embeddings.means().tolist() == [[3, 3], [1, 1], [2, 2]]
    for chosen in ([2, 0], np.array([2, 0])):
        selected = embeddings.select(chosen)
        assert selected.counts.tolist() == [2, 3]
        assert selected.rows[:, 0].tolist() == [2, 2, 3, 3, 3]
    masked = embeddings.select(np.array([False, True, False]))
    assert (masked.counts.tolist(), masked.rows.tolist()) == ([1], [[1, 1]])
    assert embeddings.select([]).rows.shape == (0, 2)


def test_embedding_builds_no_graph_and_moves_no_statistics(
    data: TrialData, encoder: Encoder
) -> None:
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    Embedder(encoder, TEN).clips(whole(data), [0])
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_embeddings_are_computed_without_tf32(encoder: Encoder) -> None:
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    flags = convolutions, torch.backends.cuda.matmul
    before = [flag.fp32_precision for flag in flags]
    seen: list[str] = []
    assert isinstance(encoder, BackboneEncoder)
    hook = encoder.backbone.register_forward_hook(
        lambda *_: seen.extend(flag.fp32_precision for flag in flags)
    )
    Embedder(encoder, TEN).segments(np.zeros((2, 32000), np.float32))
    hook.remove()
    assert seen == ["ieee", "ieee"]
    assert [flag.fp32_precision for flag in flags] == before
