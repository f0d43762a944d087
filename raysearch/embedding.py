"""Clips -> embeddings of their segments.

Shape letters: C clips, S segments of a clip, T samples of a segment, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.audio.batches import Float32, Part, segments
from raysearch.config import Options
from raysearch.model.encoder import Encoder
from raysearch.model.frontend import LogMel

CLIPS_AT_ONCE = 16


def embed_segments(encoder: Encoder, frontend: LogMel, waves: Float32) -> NDArray[np.float32]:
    """Embeds normalised segments.

    Args:
        encoder: in evaluation mode; in full precision, since inlier models see small distances.
        frontend: on the encoder's device.
        waves: (N, T).

    Returns:
        (N, D).
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        embeddings = encoder.embed(frontend(torch.from_numpy(waves).to(device)))
    return embeddings.cpu().numpy()


def embed_clips(
    encoder: Encoder, frontend: LogMel, part: Part, options: Options, clips: Sequence[int]
) -> NDArray[np.float32]:
    """Embeds the overlapping segments of some clips of a store.

    Returns:
        (C, S, D), in the order of `clips`.
    """
    found = []
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        waves = [
            segments(part.store.waveform(i), options.segment, options.segments, part.mean, part.std)
            for i in clips[start : start + CLIPS_AT_ONCE]
        ]
        found.append(embed_segments(encoder, frontend, np.concatenate(waves)))
    rows = np.concatenate(found)
    return rows.reshape(len(clips), options.segments, rows.shape[1])
