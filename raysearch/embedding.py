"""Clips -> embeddings of their segments.

Shape letters: C clips, S segments of a clip, T samples of a segment, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.audio.batches import Float32, Part, segments
from raysearch.config import Options
from raysearch.distributed import gathered, rows
from raysearch.model.encoder import Encoder
from raysearch.model.frontend import LogMel
from raysearch.network import full_precision

CLIPS_AT_ONCE = 16


def embed_segments(encoder: Encoder, frontend: LogMel, waves: Float32) -> NDArray[np.float32]:
    """Embeds normalised segments.

    Args:
        encoder: in evaluation mode.
        frontend: on the encoder's device.
        waves: (N, T).

    Returns:
        (N, D).
    """
    device = next(encoder.parameters()).device
    # Inlier models see small distances, and a detector may score on another device.
    with torch.inference_mode(), full_precision():
        embeddings = encoder.embed(frontend(torch.from_numpy(waves).to(device)))
    return embeddings.cpu().numpy()


def embed_clips(
    encoder: Encoder, frontend: LogMel, part: Part, options: Options, clips: Sequence[int]
) -> NDArray[np.float32]:
    """Embeds the overlapping segments of some clips of a store.

    Workers of a trial share the clips, each clip once, and all of them have the whole result.

    Returns:
        (C, S, D), in the order of `clips`.
    """
    mine = clips[rows()]
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(mine), CLIPS_AT_ONCE):
        waves = [
            segments(part.store.waveform(i), options.segment, options.segments, part.mean, part.std)
            for i in mine[start : start + CLIPS_AT_ONCE]
        ]
        embeddings = embed_segments(encoder, frontend, np.concatenate(waves))
        found += [*embeddings.reshape(len(waves), options.segments, -1)]
    return np.stack(gathered(found, len(clips)))
