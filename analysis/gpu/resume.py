"""Resumed trainings against uninterrupted ones.

cuDNN's fastest kernels add up in an order that changes from run to run, and training multiplies
such differences. So deterministic ones are taken, and a training is also repeated: a resume must
change nothing that a repetition does not change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from gpu.outcome import Row, Section, relative_difference, say
from gpu.plan import Plan

from raysearch.config import TrialConfig
from raysearch.data.dataset import TrialData
from raysearch.training.train import Epoch, Trained, train

TITLE = "resume: losses and weights against those of an uninterrupted training"

TOLERANCE = 1e-6
"""Relative difference of losses that a resume may add to three times that of a repetition."""


class InterruptedTrainingError(Exception):
    """Raised by the report callback after the first epoch."""


def fill(section: Section, plan: Plan, data: TrialData, folder: Path) -> None:
    """Train, repeat and resume with deterministic kernels."""
    config = plan.config(data, plan.batch_sizes[0], plan.precision, plan.resume_epochs)
    with deterministic_kernels():
        whole = train(config, data, ignore, folder / "whole")
        say("resume: trained")
        again = train(config, data, ignore, folder / "again")
        say("resume: repeated")
        resumed = interrupt_and_resume(config, data, folder / "resumed")
    repeated = {"training": "repeated", "resumes": 0} | compare(again, whole)
    after = {"training": "resumed", "resumes": len(resumed.resumes)} | compare(resumed, whole)
    for row in (repeated, after):
        section.add(TITLE, row)
    limit = TOLERANCE + 3 * repeated["loss_difference"]
    section.check("resume: relative difference of losses", after["loss_difference"], limit)


def interrupt_and_resume(config: TrialConfig, data: TrialData, folder: Path) -> Trained:
    """Train one epoch, raise in the report callback, and train on in the same folder."""
    try:
        train(config, data, interrupt, folder)
    except InterruptedTrainingError:
        return train(config, data, ignore, folder)
    raise AssertionError("the callback's exception was swallowed")


def compare(trained: Trained, whole: Trained) -> Row:
    """Return how far two trainings are apart."""
    ours, theirs = losses(trained), losses(whole)
    weights = whole.encoder.state_dict()
    pairs = [(tensor, weights[name]) for name, tensor in trained.encoder.state_dict().items()]
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return {
        "loss_difference": relative_difference(ours, theirs),
        "largest_weight_difference": largest,
        "bitwise": ours == theirs and all(torch.equal(a, b) for a, b in pairs),
        "losses": ours,
    }


def losses(trained: Trained) -> list[float]:
    """Return training and validation losses of all epochs."""
    return [loss for epoch in trained.history for loss in (epoch.train_loss, epoch.val_loss)]


def ignore(_: Epoch) -> None:
    """Take a report."""


def interrupt(_: Epoch) -> None:
    """Take a report and end the training."""
    raise InterruptedTrainingError


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Choose kernels that always add up in the same order, for this block."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
