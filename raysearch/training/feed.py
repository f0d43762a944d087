"""Batches of a training: the target with other machine types or alone, or each ID by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from raysearch.config import derive_seed
from raysearch.data.batches import (
    Batch,
    ClipSet,
    Part,
    batch_count,
    training_batches,
    validation_batches,
)
from raysearch.data.dataset import TrialData
from raysearch.errors import TrialError
from raysearch.methods.lookup import find_method
from raysearch.training.configuration import TrialConfig

EVALUATION_BATCH = 128
"""Samples of a batch of the validation."""


class Feed:
    """The batches of a trial, the same on every worker.

    Attributes:
        config: of the encoder.
        sets: training clips of the network, or of the network of each product ID.
        held_out: validation clips, likewise.
        steps: batches of an epoch.
    """

    def __init__(self, config: TrialConfig, data: TrialData) -> None:
        """Divide the recordings into training and validation clips.

        Args:
            config: of the encoder.
            data: recordings.

        Raises:
            TrialError: a product ID has nothing to be told apart from.
        """
        options, method = config.options, find_method(config.options)
        self.config = config
        target, held_out = data.target_parts(options.validation_share, config.seed)
        others: tuple[Part, ...] = ()
        held_out_others: tuple[Part, ...] = ()
        if method.uses_others:
            others, held_out_others = data.other_parts(
                options.amplitude, options.validation_share, config.seed
            )
        # With one clip an ID none is held out: a biased loss is better than one without others.
        if not any(part.clips.size for part in held_out_others):
            held_out_others = others
        self.sets = [ClipSet(target, data.products, others)]
        self.held_out = [ClipSet(held_out, data.products, held_out_others)]
        self.per_product = method.is_per_product
        if self.per_product:
            numbers = range(len(data.ids))
            self.sets = [_one_against_rest(self.sets[0], number) for number in numbers]
            self.held_out = [_one_against_rest(self.held_out[0], number) for number in numbers]
            if not all(clips.others for clips in self.sets):
                raise TrialError(f"{options.method} needs a second product ID or machine type")
        self.steps = max(self._count(clips) for clips in self.sets)

    @property
    def smallest_batch(self) -> int:
        """Least number of samples of a batch of one network."""
        return min(
            clips.target.clips.size // self._count(clips) * (2 if clips.others else 1)
            for clips in self.sets
        )

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0."""
        config = self.config
        iterators = [
            training_batches(
                clips,
                batch_size=config.batch_size,
                segment=config.options.segment,
                seed=derive_seed(config.seed, number) if self.per_product else config.seed,
                epoch=epoch,
            )
            for number, clips in enumerate(self.sets)
        ]
        if not self.per_product:
            return iterators[0]
        return (_join(batches) for batches in zip_longest(*iterators))

    def validation(self) -> Iterator[Batch]:
        """Yield the batches of the validation."""
        options = self.config.options
        for number, clips in enumerate(self.held_out):
            for batch in validation_batches(
                clips,
                batch_size=EVALUATION_BATCH,
                segment=options.segment,
                whole=options.validation_segments == "all",
            ):
                yield _of_network(batch, number) if self.per_product else batch

    def _count(self, clips: ClipSet) -> int:
        return batch_count(
            clips.target.clips.size, self.config.batch_size, with_others=bool(clips.others)
        )


def _one_against_rest(clips: ClipSet, number: int) -> ClipSet:
    """Return the clips of one product ID; those of the other IDs join the other machine types."""
    is_target = clips.products[clips.target.clips] == number
    target = replace(clips.target, clips=clips.target.clips[is_target])
    rest = replace(clips.target, clips=clips.target.clips[~is_target])
    others = [part for part in (rest, *clips.others) if part.clips.size]
    return ClipSet(target, clips.products, others)


def _of_network(batch: Batch, number: int) -> Batch:
    return replace(batch, networks=np.full(batch.size, number, np.int64))


def _join(batches: Sequence[Batch | None]) -> Batch:
    """Join the batches of several networks; a network may have run out of batches."""
    return Batch.join([_of_network(batch, k) for k, batch in enumerate(batches) if batch])
