"""Clips -> embeddings of their segments.

Shape letters: C clips, S segments of a clip, T samples of a segment, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.config import Options
from raysearch.data.batches import Float32, Part, segments
from raysearch.data.decode import Int16
from raysearch.model.encoder import Encoder
from raysearch.training.distributed import all_gather, shard
from raysearch.training.network import frontend, full_precision

CLIPS_AT_ONCE = 16


class Embedder:
    """An encoder behind its front end: waveforms in, embeddings out.

    Attributes:
        encoder: in evaluation mode.
        options: of the encoder.
        device: of the encoder.
    """

    def __init__(self, encoder: Encoder, options: Options) -> None:
        """Build the front end on the encoder's device."""
        self.encoder, self.options = encoder, options
        self.device = next(encoder.parameters()).device
        self.frontend = frontend(options).to(self.device)

    def segments(self, waves: Float32) -> NDArray[np.float32]:
        """Embed normalised segments (N, T).

        Returns:
            (N, D).
        """
        # Inlier models see small distances, and a detector may score on another device.
        with torch.inference_mode(), full_precision():
            spectrograms = self.frontend(torch.from_numpy(waves).to(self.device))
            return self.encoder.embed(spectrograms).cpu().numpy()

    def clip(self, wave: Int16, mean: float, std: float) -> NDArray[np.float32]:
        """Embed the overlapping segments of one clip.

        Args:
            wave: samples (L,).
            mean: of the training clips' samples.
            std: of the training clips' samples.

        Returns:
            (S, D).
        """
        options = self.options
        return self.segments(segments(wave, options.segment, options.segments, mean, std))

    def clips(self, part: Part, clips: Sequence[int]) -> NDArray[np.float32]:
        """Embed the overlapping segments of some clips of a store.

        Workers of a trial share the clips, each clip once, and all of them have the whole result.

        Returns:
            (C, S, D), in the order of `clips`.
        """
        options, mine = self.options, clips[shard()]
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(mine), CLIPS_AT_ONCE):
            waves = [
                segments(
                    part.store.waveform(i), options.segment, options.segments, part.mean, part.std
                )
                for i in mine[start : start + CLIPS_AT_ONCE]
            ]
            embeddings = self.segments(np.concatenate(waves))
            found += [*embeddings.reshape(len(waves), options.segments, -1)]
        return np.stack(all_gather(found, len(clips)))
