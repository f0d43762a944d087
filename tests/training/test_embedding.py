"""Clips -> embeddings of their segments."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch.data.batches import Part
from raysearch.data.dataset import TrialData
from raysearch.model.encoder import BackboneEncoder, Encoder
from raysearch.training.embedding import CLIPS_AT_ONCE, Embedder
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
    assert embeddings.shape == (3, 10, 128)
    assert embeddings.dtype == np.float32
    for row, clip in zip(embeddings, clips, strict=True):
        wave = (part.store.waveform(clip).astype(np.float32) - part.mean) / part.std
        assert wave.size == 48000
        # Ten segments of 2 s out of 3 s: hops of 16000 // 9, the last at the very end.
        starts = [*range(0, 9 * 1777, 1777), 16000]
        cut = np.stack([wave[s : s + 32000] for s in starts]).astype(np.float32)
        np.testing.assert_allclose(row, Embedder(encoder, TEN).segments(cut), rtol=1e-3, atol=1e-4)


def test_more_clips_than_are_embedded_at_once(data: TrialData, encoder: Encoder) -> None:
    part, options = whole(data), TEN.model_copy(update={"segments": 2})
    clips = list(range(CLIPS_AT_ONCE + 3))
    together = Embedder(encoder, options).clips(part, clips)
    assert together.shape == (CLIPS_AT_ONCE + 3, 2, 128)
    alone = np.concatenate([Embedder(encoder, options).clips(part, [i]) for i in clips])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert np.ptp(together, axis=0).max() > 1e-2  # clips differ by more than that


def test_a_clip_shorter_than_a_segment_is_repeated(data: TrialData, encoder: Encoder) -> None:
    options = TEN.model_copy(update={"segment_seconds": 4.0})
    embeddings = Embedder(encoder, options).clips(whole(data), [0])
    assert embeddings.shape == (1, 10, 128)
    np.testing.assert_allclose(
        embeddings[0], np.broadcast_to(embeddings[0, 0], (10, 128)), atol=1e-4
    )


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
