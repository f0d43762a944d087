"""A study's job, as its trials' processes get it, and the records that no trial can write itself.

A trial whose process was killed, or that is pruned, has its record from the driver.
"""

from dataclasses import dataclass

from upath import UPath

from raysearch.audio.dataset import Source
from raysearch.config import Options, TrialConfig
from raysearch.score.spec import InlierSpec
from raysearch.search.records import Proposal, Record
from raysearch.search.study import StudyFolder
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
    """Make the record of a trial that cannot be finished.

    Args:
        job: what all trials share.
        proposal: the trial.
        host: that it failed on; empty if unknown.
        reason: one line.
        devices: that it held.
    """
    # What it took counts, though nothing came of it.
    seconds = sum(epoch.seconds for epoch in unfinished(job.encoder(proposal))[0])
    config = job.config(proposal)
    return Record.failed(
        proposal, config, reason, train_seconds=seconds, host=host, devices=devices
    )


def pruned(job: Job, proposal: Proposal, host: str, devices: float) -> Record | None:
    """Make the record of a trial that is pruned.

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
    config = job.config(proposal)
    return Record.pruned(proposal, config, history, resumes, host=host, devices=devices)
