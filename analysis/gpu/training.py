"""Trainings by `raysearch.run_trial`: losses, scores, speed and memory.

Each batch size and precision is one real trial with the same seed, so nothing else differs.
"""

import math
import time
from pathlib import Path
from statistics import mean

import torch
from gpu.outcome import Row, Section, peak_memory, reset_memory, say
from gpu.plan import (
    MACHINE,
    PRECISIONS,
    Plan,
    Precision,
    clips_and_steps,
    configuration,
)

import raysearch
from raysearch.data.dataset import TrialData
from raysearch.training.outcome import Epoch

TITLE = "training (run_trial); points are of the best inlier model"


class Watch:
    """Epoch callback that notes the time of each report and the peak of GPU memory."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.times: list[float] = []
        self.memory: tuple[float | None, float | None] = (None, None)

    def __call__(self, epoch: Epoch) -> None:
        """Note a report; memory after the last report belongs to scoring."""
        self.epochs.append(epoch)
        self.times.append(time.perf_counter())
        self.memory = peak_memory()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    @property
    def epoch_seconds(self) -> float:
        """Mean time of training and validation of an epoch, without the first epoch."""
        return mean(epoch.seconds for epoch in self.epochs[1:])

    @property
    def rest_seconds(self) -> float:
        """Mean time between two epochs: checkpoints and reports."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1) - self.epoch_seconds


def fill(section: Section, plan: Plan, data: TrialData, recordings: Path, folder: Path) -> None:
    """Train at every batch size in every precision."""
    for batch_size in plan.batch_sizes:
        for precision in PRECISIONS:
            say(f"training: batch size {batch_size}, {precision}")
            row = train_once(plan, data, recordings, batch_size, precision, folder)
            section.add(TITLE, row)
            name = f"training, batch {batch_size}, {precision}: losses that are not finite"
            losses = [*row["train_losses"], *row["val_losses"]]
            section.check(name, float(sum(not math.isfinite(loss) for loss in losses)), 0.0)
        points = [row["points"] for row in section.tables[TITLE][-len(PRECISIONS) :]]
        difference = None if None in points else abs(points[0] - points[1])
        name = f"training, batch {batch_size}: val_score of bf16 and fp32, points apart"
        section.check(name, difference, plan.points)


def train_once(
    plan: Plan,
    data: TrialData,
    recordings: Path,
    batch_size: int,
    precision: Precision,
    folder: Path,
) -> Row:
    """Run one trial and return its row."""
    watch = Watch()
    reset_memory()
    result = raysearch.run_trial(
        configuration(batch_size),
        recordings,
        machine=MACHINE,
        folder=folder,
        space=plan.space(precision),
        on_epoch=watch,
    )
    score_mib, _ = peak_memory()
    config = plan.config(data, batch_size, precision, plan.epochs)
    clips, steps = clips_and_steps(config, data)
    return {
        "batch": batch_size,
        "precision": precision,
        "steps": steps,
        "train_loss": result.history[-1].train_loss,
        "val_loss": result.val_loss,
        "best_epoch": result.best_epoch,
        "points": 100 * result.best.val_score if result.best and result.best.val_score else None,
        "clips_per_s": clips / watch.epoch_seconds,
        "epoch_s": watch.epoch_seconds,
        "first_epoch_s": watch.epochs[0].seconds,
        "checkpoint_s": watch.rest_seconds,
        "score_s": result.score_seconds,
        "train_mib": watch.memory[0],
        "reserved_mib": watch.memory[1],
        "score_mib": score_mib,
        "train_losses": [epoch.train_loss for epoch in result.history],
        "val_losses": [epoch.val_loss for epoch in result.history],
        "inliers": [
            {"inlier": row.inlier, "p": row.p, "val_score": row.val_score, "error": row.error}
            for row in result.rows
        ],
    }
