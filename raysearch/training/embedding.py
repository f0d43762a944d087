"""Embeddings of the segments of clips.

Shape letters: C clips, S segments of a clip, N segments of all clips, T samples of a segment,
D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from raysearch.config import Options
from raysearch.data.batches import Float32, Part, normalise, segment_starts, segments
from raysearch.data.waveform import Waveform
from raysearch.model.encoder import Encoder
from raysearch.training.distributed import all_gather, shard
from raysearch.training.network import best_device, frontend, full_precision

CLIPS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class ClipEmbeddings:
    """Embeddings of the segments of clips, of which long ones have more than short ones.

    Attributes:
        rows: of all segments, clip by clip (N, D).
        counts: number of segments of each clip (C,).
    """

    rows: NDArray[Any]
    counts: NDArray[np.int64]

    @classmethod
    def join(cls, clips: Sequence[NDArray[Any]]) -> Self:
        """Join the embeddings (S, D) of single clips, at least one clip."""
        return cls(np.concatenate(clips), np.array([len(clip) for clip in clips], np.int64))

    def __len__(self) -> int:
        return len(self.counts)

    def split(self) -> list[NDArray[Any]]:
        """Return the embeddings (S, D) of each clip."""
        return np.split(self.rows, np.cumsum(self.counts)[:-1])

    def select(self, clips: NDArray[Any] | Sequence[int]) -> Self:
        """Return the embeddings of some clips, chosen by positions or by a mask (C,)."""
        positions = np.arange(len(self))[clips]
        of_clip = self.split()
        rows = [of_clip[position] for position in positions.tolist()]
        return type(self)(np.concatenate([self.rows[:0], *rows]), self.counts[positions])

    def means(self) -> NDArray[Any]:
        """Return the mean embedding (C, D) of each clip."""
        return np.stack([rows.mean(axis=0) for rows in self.split()])


class Embedder:
    """An encoder with its front end, from waveforms to embeddings.

    Attributes:
        encoder: in evaluation mode.
        options: of the encoder.
        ids: product IDs of the target, in the order of the encoder's.
        device: of the encoder.
    """

    def __init__(self, encoder: Encoder, options: Options, ids: Sequence[str] = ()) -> None:
        """Build the front end on the encoder's device."""
        self.encoder, self.options, self.ids = encoder, options, tuple(ids)
        weight = next(encoder.parameters(), None)
        self.device = best_device() if weight is None else weight.device
        self.frontend = frontend(options).to(self.device)

    def segments(self, waves: Float32, product: int = 0) -> NDArray[np.float32]:
        """Embed normalised segments (N, T), as many at once as typical clips have.

        Args:
            waves: segments.
            product: position of their product ID, for an encoder with a network for each.

        Returns:
            (N, D).
        """
        size = CLIPS_AT_ONCE * self.options.segments
        blocks = [self._block(waves[i : i + size], product) for i in range(0, len(waves), size)]
        return np.concatenate(blocks)

    def _block(self, waves: Float32, product: int) -> NDArray[np.float32]:
        # Inlier models compare small distances, and a detector may score on another device.
        with torch.inference_mode(), full_precision():
            spectrograms = self.frontend(torch.from_numpy(waves).to(self.device))
            return self.encoder.of_product(product).embed(spectrograms).cpu().numpy()

    def blocks(
        self, waveform: Waveform, mean: float, std: float, identity: str
    ) -> Iterator[NDArray[np.float32]]:
        """Embed the overlapping segments of one clip, as many at once as typical clips have.

        Args:
            waveform: of the clip.
            mean: of the training clips' samples.
            std: of the training clips' samples.
            identity: product ID of the clip.

        Yields:
            (N, D), S segments in all.
        """
        options, product = self.options, self._product(identity)
        full = waveform.fill(options.segment)
        starts = segment_starts(full.length, options.segment, options.segments)
        pieces = full.segments(starts, options.segment)
        size = CLIPS_AT_ONCE * options.segments
        while waves := [normalise(wave, mean, std) for wave in islice(pieces, size)]:
            yield self._block(np.stack(waves), product)

    def clips(self, part: Part, clips: Sequence[int]) -> ClipEmbeddings:
        """Embed the overlapping segments of some clips of a store, in the order of `clips`.

        Collective: each worker embeds its shard of the clips, and all return the whole result.
        """
        shard_clips = clips[shard()]
        products = [self._product(part.store.clips[i].id) for i in shard_clips]
        embeddings: dict[int, NDArray[np.float32]] = {}
        for product in dict.fromkeys(products):
            chosen = [i for i, k in zip(shard_clips, products, strict=True) if k == product]
            embeddings |= zip(chosen, self._clips_of(part, chosen, product), strict=True)
        return ClipEmbeddings.join(all_gather([embeddings[i] for i in shard_clips], len(clips)))

    def _clips_of(
        self, part: Part, clips: Sequence[int], product: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings (S, D) of clips by one network."""
        options = self.options
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            waves = [
                segments(
                    part.store.waveform(i), options.segment, options.segments, part.mean, part.std
                )
                for i in clips[start : start + CLIPS_AT_ONCE]
            ]
            batch = self.segments(np.concatenate(waves), product)
            yield from np.split(batch, np.cumsum([len(wave) for wave in waves])[:-1])

    def by_network(self, ids: Sequence[str]) -> list[list[str]]:
        """Group product IDs by the network that embeds their clips."""
        groups: dict[int, list[str]] = {}
        for identity in ids:
            groups.setdefault(self._product(identity), []).append(identity)
        return list(groups.values())

    def _product(self, identity: str) -> int:
        """Return the number of the network of a product ID; 0 for an ID that has none."""
        if not self.encoder.is_per_product or identity not in self.ids:
            return 0
        return self.ids.index(identity)
