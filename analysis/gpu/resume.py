"""Resumed trainings against uninterrupted trainings.

cuDNN's fastest kernels add in an order that changes from run to run, and training amplifies these
differences. So deterministic kernels are used, and a training is also repeated: a resume must not
change more than a repetition does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from gpu.outcome import Row, Section, relative_difference, say
from gpu.plan import Plan

from raysearch.data.dataset import TrialData
from raysearch.training.configuration import TrialConfig
from raysearch.training.outcome import Epoch
from raysearch.training.train import Trained, train

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
        repeated = train(config, data, ignore, folder / "again")
        say("resume: repeated")
        resumed = interrupt_and_resume(config, data, folder / "resumed")
    rows: dict[str, Row] = {}
    for name, trained in (("repeated", repeated), ("resumed", resumed)):
        facts: Row = {"training": name, "resumes": len(trained.resumes)}
        rows[name] = facts | compare(trained, whole)
        section.add(TITLE, rows[name])
    limit = TOLERANCE + 3 * rows["repeated"]["loss_difference"]
    value = rows["resumed"]["loss_difference"]
    section.check("resume: relative difference of losses", value, limit)


def interrupt_and_resume(config: TrialConfig, data: TrialData, folder: Path) -> Trained:
    """Train one epoch, raise in the report callback, and resume in the same folder."""
    try:
        train(config, data, interrupt, folder)
    except InterruptedTrainingError:
        return train(config, data, ignore, folder)
    raise AssertionError("the callback's exception was swallowed")


def compare(trained: Trained, whole: Trained) -> Row:
    """Return the differences of two trainings."""
    loss, reference = losses(trained), losses(whole)
    weights = whole.encoder.state_dict()
    pairs = [(tensor, weights[name]) for name, tensor in trained.encoder.state_dict().items()]
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return {
        "loss_difference": relative_difference(loss, reference),
        "largest_weight_difference": largest,
        "bitwise": loss == reference and all(torch.equal(a, b) for a, b in pairs),
        "losses": loss,
    }


def losses(trained: Trained) -> list[float]:
    """Return training and validation losses of all epochs."""
    return [loss for epoch in trained.history for loss in (epoch.train_loss, epoch.val_loss)]


def ignore(_: Epoch) -> None:
    """Ignore a report."""


def interrupt(_: Epoch) -> None:
    """Raise, to end the training."""
    raise InterruptedTrainingError


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Use kernels that always add in the same order, in this block."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
