"""A detector that was never trained: its scores mean nothing, but they are scores."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from raysearch.config import Options
from raysearch.data.waveform import Waveform
from raysearch.detector import EncoderDetector
from raysearch.methods.lookup import find_method
from raysearch.model.encoder import Encoder
from raysearch.scoring.inlier import InlierSpec, fit
from raysearch.training.network import new_encoder
from tests.tiny import TINY

IDS = ("0", "3", "10")


def make_detector(
    inlier: str = "gmm", p: float | None = 2, ids: tuple[str, ...] = IDS, **options: object
) -> EncoderDetector:
    """A detector of valves for some product IDs."""
    settings = Options.model_validate(TINY.model_dump() | {"segments": 3} | options)
    torch.manual_seed(0)
    encoder = new_encoder(settings, len(ids), pretrained=False).eval()
    rng = np.random.default_rng(0)
    models = {}
    for number, identity in enumerate(ids):
        normal = rng.normal(0.1 * number, 1, (40, settings.embedding))
        models[identity] = fit(
            InlierSpec(inlier, p),
            normal,
            seed=0,
            reg_covar=1e-3,
            direct=find_method(settings).direct_score(encoder, number, normal),
        )
    thresholds = {identity: float(number) for number, identity in enumerate(ids)}
    return EncoderDetector(
        "valve", settings, 3.5, 1234.5, thresholds, InlierSpec(inlier, p), encoder, models
    )


def embed(detector: EncoderDetector, wave: np.ndarray, identity: str) -> np.ndarray:
    """Return the embeddings (S, D) of the segments of a clip (L,)."""
    waveform = Waveform.of(wave)
    blocks = detector.embedder.blocks(waveform, detector.mean, detector.std, identity)
    return np.concatenate([*blocks])


@contextmanager
def count_embedded(networks: Sequence[Encoder]) -> Iterator[list[int]]:
    """Count how often each network embeds a block of segments."""
    counts = [0] * len(networks)

    def count(position: int) -> None:
        counts[position] += 1

    hooks = [
        next(network.children()).register_forward_hook(lambda *_, k=k: count(k))
        for k, network in enumerate(networks)
    ]
    yield counts
    for hook in hooks:
        hook.remove()
