"""Embeddings of the segments of clips.

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
from raysearch.training.network import best_device, frontend, full_precision

CLIPS_AT_ONCE = 16


class Embedder:
    """An encoder with its front end, from waveforms to embeddings.

    Attributes:
        encoder: in evaluation mode.
        options: of the encoder.
        device: of the encoder.
    """

    def __init__(self, encoder: Encoder, options: Options) -> None:
        """Build the front end on the encoder's device."""
        self.encoder, self.options = encoder, options
        weight = next(encoder.parameters(), None)
        self.device = best_device() if weight is None else weight.device
        self.frontend = frontend(options).to(self.device)

    def segments(self, waves: Float32) -> NDArray[np.float32]:
        """Embed normalised segments (N, T).

        Returns:
            (N, D).
        """
        # Inlier models compare small distances, and a detector may score on another device.
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

        Collective: each worker embeds its shard of the clips, and all return the whole result.

        Returns:
            (C, S, D), in the order of `clips`.
        """
        options, shard_clips = self.options, clips[shard()]
        embeddings: list[NDArray[np.float32]] = []
        for start in range(0, len(shard_clips), CLIPS_AT_ONCE):
            waves = [
                segments(
                    part.store.waveform(i), options.segment, options.segments, part.mean, part.std
                )
                for i in shard_clips[start : start + CLIPS_AT_ONCE]
            ]
            batch = self.segments(np.concatenate(waves))
            embeddings += [*batch.reshape(len(waves), options.segments, -1)]
        return np.stack(all_gather(embeddings, len(clips)))
