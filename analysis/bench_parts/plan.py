"""Sizes of bench.py, its recordings, and the settings of both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from bench_parts.recipe import File, Setting
from gpu.plan import FULL, LAM, LR, TINY, Plan, configuration, open_recordings

from raysearch.config import Options
from raysearch.data.batches import Part, batch_count
from raysearch.data.dataset import TrialData
from raysearch.training.configuration import TrialConfig

SEED = 0

EPOCHS = 10_000
"""Length of the schedule of a training; more epochs than are measured."""


@dataclass(frozen=True)
class BenchPlan:
    """Sizes of everything that is timed.

    Attributes:
        sizes: of the recordings and options, as in gpu_check.py.
        workers: processes of the plain recipe's DataLoader.
        passes: epochs of each call of an epoch or a constant batch.
        feeds: epochs of each call of feeding.
        steps: of each call of a step or a front end.
        trial_epochs: of a whole trial.
        repeats: of each part.
        cold_repeats: of the parts that start processes.
        apart: run the plain sides in processes of their own.
        share: least speed of real recordings, as a share of a constant batch's.
        models: inlier models of a whole trial.
        sweep: sizes of the sweep by their names in sweep.py, where they are not the default ones.
    """

    sizes: Plan
    workers: int
    passes: int
    feeds: int
    steps: int
    trial_epochs: int
    repeats: int
    cold_repeats: int
    apart: bool
    share: float
    models: Mapping[str, Sequence[int]]
    sweep: Mapping[str, int] = field(default_factory=dict)


POWERS = (1, 2, 4, 8, 16, 32)

# 32 and 128 training clips of each of the six IDs remain after the validation share: every batch of
# 32 or 128 samples is full, so that a constant batch is as large as the real ones.
CPU = BenchPlan(
    sizes=replace(
        FULL, batch_sizes=(32,), train_clips=36, test_clips=8, clip_seconds=10.0, total=1800
    ),
    workers=2,
    passes=1,
    feeds=10,
    steps=8,
    trial_epochs=2,
    repeats=3,
    cold_repeats=2,
    apart=True,
    share=0.97,
    models={"gmm": POWERS, "lof": POWERS},
)

GPU = BenchPlan(
    sizes=replace(
        FULL, batch_sizes=(128, 32), train_clips=142, test_clips=25, clip_seconds=10.0, total=275
    ),
    workers=8,
    passes=3,
    feeds=3,
    steps=24,
    trial_epochs=2,
    repeats=3,
    cold_repeats=1,
    # Memory of the CPU does not matter there, and time is short.
    apart=False,
    share=0.95,
    models={"gmm": POWERS, "lof": POWERS},
)

SMALL = BenchPlan(
    sizes=replace(TINY, train_clips=10),
    workers=1,
    passes=1,
    feeds=1,
    steps=2,
    trial_epochs=1,
    repeats=2,
    cold_repeats=1,
    apart=True,
    share=0.0,
    models={"gmm": (1, 2), "lof": (4,)},
    sweep={"ids": 2, "judged": 1, "fitted": 10, "tested": 8, "dim": 8},
)
"""Sizes of a test of the program, on a CPU."""


@dataclass(frozen=True)
class Bench:
    """All that a part is measured with.

    Attributes:
        plan: sizes.
        options: of raysearch's trainings; those of the plain recipe have the same values.
        data: recordings, opened.
        folder: of files, with the recordings in `data`.
    """

    plan: BenchPlan
    options: Options
    data: TrialData
    folder: Path

    @classmethod
    def open(cls, plan: BenchPlan, folder: Path) -> Self:
        """Open recordings that were written before."""
        if plan.sizes.threads:
            torch.set_num_threads(plan.sizes.threads)
        return cls(plan, plan.sizes.options, open_recordings(plan.sizes, folder / "data"), folder)

    @property
    def device(self) -> torch.device:
        """GPU or CPU of both sides."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def config(self, batch_size: int) -> TrialConfig:
        """Return the configuration of raysearch's trainings."""
        return TrialConfig(
            machine=self.data.machine,
            data=self.data.fingerprint,
            configuration=configuration(batch_size),
            seed=SEED,
            options=self.options.replace({"epochs": EPOCHS}),
        )

    def setting(self, batch_size: int) -> Setting:
        """Return the same settings for the plain recipe."""
        options = self.options
        return Setting(
            backbone=options.backbone,
            products=len(self.data.ids),
            batch_size=batch_size,
            workers=self.plan.workers,
            steps=EPOCHS * self.steps(batch_size),
            rate=options.rate,
            segment=options.segment,
            n_fft=options.n_fft,
            hop=options.hop,
            n_mels=options.n_mels,
            f_min=options.f_min,
            f_max=options.f_max,
            embedding=options.embedding,
            dropout=options.dropout,
            lr=LR,
            lam=LAM,
            alpha=options.mixup_alpha,
        )

    @property
    def clips(self) -> int:
        """Samples of an epoch."""
        return 2 * self._parts(0)[0].clips.size

    def steps(self, batch_size: int) -> int:
        """Return the batches of an epoch."""
        return batch_count(self.clips // 2, batch_size)

    def files(self, *, held_out: bool = False) -> list[File]:
        """List the wav files of the training, or of its held-out clips."""
        target, *others = self._parts(int(held_out))
        listed = files_of(target, self.data.products[target.clips].tolist())
        for part in others:
            listed += files_of(part, [-1] * part.clips.size)
        return listed

    def test_files(self) -> list[File]:
        """List the wav files of the validation IDs' test clips."""
        products = [self.data.ids.index(clip.id) for clip in self.data.validation.clips]
        return files_of(self.test_part, products)

    @property
    def test_part(self) -> Part:
        """Test clips of the validation IDs."""
        store, target = self.data.validation, self.data.target
        return Part(store, np.arange(len(store.clips)), target.mean, target.std)

    def _parts(self, number: int) -> list[Part]:
        """Return the training parts (0) or the held-out parts (1), the target's first."""
        share = self.options.validation_share
        target = self.data.target_parts(share, SEED)[number]
        return [target, *self.data.other_parts(self.options.amplitude, share, SEED)[number]]


def files_of(part: Part, products: Sequence[int]) -> list[File]:
    """List the wav files of some clips; a store has the statistics in units of int16."""
    scale = 2.0**15
    clips = [part.store.clips[index] for index in part.clips]
    return [
        File(str(clip.path), product, part.mean / scale, part.std / scale)
        for clip, product in zip(clips, products, strict=True)
    ]
