"""Trials, their results and times in a few words."""

from dataclasses import replace

from raysearch.outcome import InlierResult
from raysearch.search.ranking import Candidate
from raysearch.search.resources import Share
from raysearch.search.study import Proposal, Record
from raysearch.search.winner import Winner


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


def configuration(proposal: Proposal) -> str:
    """A configuration in a few words."""
    text = f"lr {proposal.lr:.3g}, batch size {proposal.batch_size}, λ {proposal.lam:.3g}"
    if proposal.inlier:
        text += f", {proposal.inlier}" + ("" if proposal.p is None else f" p={proposal.p}")
    return text


def settings(winner: Winner) -> str:
    """The five hyperparameters of a winner in a few words."""
    return configuration(
        Proposal(winner.trial, winner.lr, winner.batch_size, winner.lam, winner.inlier, winner.p)
    )


def inlier(row: InlierResult) -> str:
    """An inlier model and its p in a few words."""
    return row.inlier if row.p is None else f"{row.inlier} p={row.p}"


def candidate(one: Candidate) -> str:
    """A configuration with its inlier model in a few words."""
    encoder = replace(one.proposal, inlier="", p=None)
    return f"{configuration(encoder)}, {inlier(one.best.row)}"


def held(share: Share) -> str:
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
