"""A study's job, as its trials' processes get it, and the records that no trial can write itself.

A trial whose process was killed, or that is pruned, has its record from the driver.
"""

import socket
from dataclasses import dataclass
from typing import Any

from upath import UPath

from raysearch.audio.dataset import Source
from raysearch.config import Options, TrialConfig
from raysearch.score.spec import InlierSpec
from raysearch.search.study import Proposal, Record, State, StudyFolder
from raysearch.training_state import unfinished


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; small, since it travels to each node.

    Attributes:
        rungs: epochs after which a trial may be given up.
    """

    folder: UPath
    source: Source
    fingerprint: str
    options: Options
    inliers: tuple[InlierSpec, ...]
    seed: int
    rungs: frozenset[int] = frozenset()

    def config(self, proposal: Proposal) -> TrialConfig:
        """The configuration of a proposal's encoder."""
        return proposal.config(self.source.machine, self.fingerprint, self.seed, self.options)

    def encoder(self, proposal: Proposal) -> UPath:
        """Folder of the checkpoints of a proposal's encoder."""
        return StudyFolder(self.folder).encoder(self.config(proposal).signature())


def failed(job: Job, proposal: Proposal, host: str, reason: str, devices: float) -> Record:
    """The record of a trial that cannot be finished.

    Args:
        job: what all trials share.
        proposal: the trial.
        host: that it failed on, if known.
        reason: one line.
        devices: that it held.
    """
    # What it took counts, though nothing came of it.
    seconds = sum(epoch.seconds for epoch in unfinished(job.encoder(proposal))[0])
    facts = record_facts(job, proposal) | {"host": host, "devices": devices}
    return Record(state=State.FAIL, error=reason, train_seconds=seconds, **facts)


def pruned(job: Job, proposal: Proposal, host: str, devices: float) -> Record | None:
    """The record of a trial that is given up.

    Args:
        job: what all trials share.
        proposal: the trial.
        host: that it runs on.
        devices: that it holds.

    Returns:
        None if its training has ended meanwhile: then it may as well be scored.
    """
    history, resumes = unfinished(job.encoder(proposal))
    if not history:
        return None
    best = min(history, key=lambda epoch: epoch.val_loss)
    return Record(
        state=State.PRUNED,
        best_epoch=best.epoch,
        val_loss=best.val_loss,
        train_seconds=sum(epoch.seconds for epoch in history),
        history=history,
        resumes=resumes,
        **record_facts(job, proposal) | {"host": host, "devices": devices},
    )


def record_facts(job: Job, proposal: Proposal) -> dict[str, Any]:
    """Return what every record of a trial says, however the trial ended."""
    return {
        "proposal": proposal,
        "encoder": job.config(proposal).signature(),
        "epochs": job.options.epochs,
        "seed": job.config(proposal).seed,
        "host": socket.gethostname(),
    }
