"""Short texts for trials, their results and times."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from raysearch.backend.resources import Share
from raysearch.config import PARALLEL, Value
from raysearch.data.index import Clip
from raysearch.errors import printable
from raysearch.scoring.jackknife import FEWEST_CLIPS
from raysearch.scoring.spec import InlierSpec
from raysearch.study.confidence import Confidence
from raysearch.study.records import Proposal, Record, State
from raysearch.study.space import Space
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult


def origin(proposal: Proposal) -> str:
    """Name the origin of a configuration; empty if the sampler proposed it."""
    if proposal.rerun_of is not None:
        trial = f"trial {proposal.rerun_of} with seed {proposal.seed}"
        return f"{trial} again, {proposal.origin}" if proposal.origin else f"finalist: {trial}"
    return f"from {proposal.origin}" if proposal.origin else ""


def best_result(records: list[Record]) -> tuple[Record, InlierResult] | None:
    """Return the record of the highest validation score and its row, None without a score."""
    scored = [(record, record.best) for record in records if record.best is not None]
    pairs = [(record, row) for record, row in scored if row is not None]
    return max(pairs, key=lambda pair: pair[1].val_score or 0.0, default=None)


def failed_trials(records: Sequence[Record]) -> str:
    """Return how many trials of a study failed, and why; empty if none did."""
    reasons = Counter(record.error for record in records if record.state is State.FAIL)
    if not reasons:
        return ""
    texts = [f"{n} times {reason}" if n > 1 else reason for reason, n in reasons.most_common()]
    return f"{reasons.total()} of {count(len(records), 'trial')} failed: {'; '.join(texts)}"[:400]


def again(machine: str, space: Space) -> str:
    """Return the command that runs a best configuration again."""
    machine = shlex.quote(printable(machine))
    flags = "--machine all --shared" if space.is_shared else f"--machine {machine}"
    return f"raysearch run {flags} --space best_config.yaml --name again"


class Configured(Protocol):
    """Type of objects with a configuration: a proposal, a candidate, a winner."""

    @property
    def configuration(self) -> Configuration:
        """Configuration of the encoder."""

    @property
    def inlier(self) -> InlierSpec | None:
        """Inlier model; None if all are swept."""


def validation_score(value: float | None) -> str:
    """Format a validation score; in words where there are no validation labels."""
    return "no validation score" if value is None else f"{value:.4f}"


def cell(value: float | None) -> str:
    """Format an AUC or another share of 1 for a table; a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def settings(configured: Configured) -> str:
    """Format all hyperparameters as a short text."""
    parts = [format_encoder(configured.configuration)]
    is_ensemble = ("method", PARALLEL) in configured.configuration.options
    if configured.inlier is not None and not is_ensemble:
        parts.append(format_inlier(configured.inlier))
    return ", ".join(filter(None, parts))


def format_encoder(configuration: Configuration) -> str:
    """Format the hyperparameters of an encoder as a short text."""
    parts = []
    if configuration.lr is not None:
        parts += [f"lr {configuration.lr:.3g}", f"batch size {configuration.batch_size}"]
    if configuration.lam is not None:
        parts.append(f"λ {configuration.lam:.3g}")
    return ", ".join([*parts, *map(format_option, configuration.options)])


def format_option(option: tuple[str, Value]) -> str:
    """Format a searched option as its name and its value; a method stands for itself."""
    name, value = option
    if name == "method":
        return str(value)
    return f"{name} {format_value(value)}"


def format_value(value: Value | None) -> str:
    """Format the value of a hyperparameter; a dash for a configuration without it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_inlier(inlier: InlierSpec) -> str:
    """Format an inlier model and its p."""
    return inlier.name if inlier.p is None else f"{inlier.name} p={inlier.p}"


def format_share(share: Share) -> str:
    """Format the CPUs and GPUs of a trial."""
    parts = [count(share.cpus, "CPU")]
    if share.gpus:
        parts.insert(0, count(share.gpus, "GPU"))
    devices = ", ".join(parts)
    return devices if share.workers == 1 else f"{share.workers} workers of {devices}"


def score(value: float) -> str:
    """Format an anomaly score of any size."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def count(number: float, noun: str) -> str:
    """Format a number with its noun, in the plural unless it is 1."""
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


def few_clips_warning(clips: Sequence[Clip]) -> str:
    """Name the ID whose clips are fewest, if each of them may decide a score; else empty.

    Args:
        clips: labelled test clips of the validation IDs.
    """
    counts = {identity: [0, 0] for identity in sorted({clip.id for clip in clips})}
    for clip in clips:
        counts[clip.id][clip.label or 0] += 1
    identity = min(counts, key=lambda each: min(counts[each]), default="")
    if not identity or min(counts[identity]) >= FEWEST_CLIPS:
        return ""
    normal, anomalous = counts[identity]
    return (
        f"few validation clips: ID {identity} has {normal} normal and {anomalous} anomalous, so "
        f"each decides much of the score; scores have intervals from {FEWEST_CLIPS} of each on"
    )


def duration(seconds: float) -> str:
    """Format a time span, for example `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_time(timestamp: str) -> str:
    """Format a timestamp of a file for readers."""
    return timestamp.replace("T", " ").replace("+00:00", " UTC")


def name_ids(ids: Sequence[str]) -> str:
    """Return `ID 3`, or `IDs 3, 4 and 5`."""
    if len(ids) == 1:
        return f"ID {ids[0]}"
    return f"IDs {', '.join(ids[:-1])} and {ids[-1]}"


def format_score(winner: Winner, confidence: Confidence) -> str:
    """Format the winner's score with its spread over seeds, its interval and its optimism."""
    text = validation_score(winner.score)
    if winner.std_score is not None:
        text += f" ± {winner.std_score:.4f} over {winner.seeds} seeds"
    remarks = []
    if confidence.low is not None and confidence.high is not None:
        interval = f"95 % interval {confidence.low:.3f} to {confidence.high:.3f}"
        remarks.append(f"{interval} over {confidence.over}")
    elif confidence.missing and winner.score is not None:
        remarks.append(confidence.missing)
    if confidence.unselected is not None:
        remarks.append(
            f"best of {confidence.choices}, without selection {confidence.unselected:.3f}"
        )
    return f"{text} ({'; '.join(remarks)})" if remarks else text
