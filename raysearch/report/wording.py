"""Trials, their results and times in a few words."""

from typing import Protocol

from raysearch.backend.resources import Share
from raysearch.config import Configuration
from raysearch.scoring.spec import InlierSpec
from raysearch.study.records import Proposal, Record
from raysearch.training.outcome import InlierResult


def origin(proposal: Proposal) -> str:
    """Where a configuration comes from, if not from the sampler."""
    if proposal.rerun_of is not None:
        return f"finalist: trial {proposal.rerun_of} with seed {proposal.seed}"
    return f"from {proposal.origin}" if proposal.origin else ""


def best_of(records: list[Record]) -> tuple[Record, InlierResult] | None:
    """The record of the highest validation score and its row, if any has one."""
    scored = [(record, record.best) for record in records if record.best is not None]
    pairs = [(record, row) for record, row in scored if row is not None]
    return max(pairs, key=lambda pair: pair[1].val_score or 0.0, default=None)


class Configured(Protocol):
    """Anything that has a configuration: a proposal, a candidate, a winner."""

    @property
    def configuration(self) -> Configuration:
        """Of the encoder."""

    @property
    def inlier(self) -> InlierSpec | None:
        """The inlier model; None where all are swept."""


def settings(configured: Configured) -> str:
    """Name all hyperparameters in a few words."""
    text = encoder_words(configured.configuration)
    inlier = configured.inlier
    return text if inlier is None else f"{text}, {inlier_words(inlier)}"


def encoder_words(configuration: Configuration) -> str:
    """Name the hyperparameters of an encoder in a few words."""
    lr, lam = f"lr {configuration.lr:.3g}", f"λ {configuration.lam:.3g}"
    return f"{lr}, batch size {configuration.batch_size}, {lam}"


def inlier_words(inlier: InlierSpec) -> str:
    """Name an inlier model and its p in a few words."""
    return inlier.name if inlier.p is None else f"{inlier.name} p={inlier.p}"


def resource_words(share: Share) -> str:
    """What a trial holds, in a few words."""
    parts = [count(share.cpus, "CPU")]
    if share.gpus:
        parts.insert(0, count(share.gpus, "GPU"))
    each = ", ".join(parts)
    return each if share.workers == 1 else f"{share.workers} workers of {each}"


def score(value: float) -> str:
    """An anomaly score, of any size."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def count(number: float, what: str) -> str:
    """A number of things."""
    return f"{number:g} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time span, such as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
