"""A study as every process knows it that works for it, and the records that no trial can write.

A trial whose process was killed, or that is pruned, has its record from the driver.
"""

from dataclasses import dataclass, replace

from upath import UPath

from raysearch.config import Options, TrialConfig
from raysearch.data.dataset import Source
from raysearch.scoring.spec import InlierSpec
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record
from raysearch.study.space import Space
from raysearch.training.state import unfinished


@dataclass(frozen=True)
class StudyContext:
    """A study: where it lies, its recordings and its space; small, since it travels to each node.

    Attributes:
        folder: as the user named it, which is how messages name it.
        source: of the recordings.
        fingerprint: of the recordings.
        space: that is searched.
    """

    folder: UPath
    source: Source
    fingerprint: str
    space: Space

    def absolute(self) -> "StudyContext":
        """Return the context for processes that have another working folder."""
        return replace(self, folder=self.folder.absolute())

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def study(self) -> StudyFolder:
        """Reader and writer of the folder."""
        return StudyFolder(self.folder)

    @property
    def options(self) -> Options:
        """Everything about a trial that is not searched."""
        return self.space.fixed

    @property
    def inliers(self) -> tuple[InlierSpec, ...]:
        """Inlier models that are swept."""
        return self.space.search.specs

    @property
    def seed(self) -> int:
        """Seed of the sampler and of the trials."""
        return self.space.strategy.seed

    @property
    def rungs(self) -> frozenset[int]:
        """Epochs after which a trial may be pruned."""
        return self.space.rungs

    def config(self, proposal: Proposal) -> TrialConfig:
        """Return the configuration of a proposal's encoder."""
        machine, data = self.source.machine, self.fingerprint
        return proposal.config(machine, data, self.seed, self.options)

    def encoder(self, proposal: Proposal) -> UPath:
        """Return the folder of the checkpoints of a proposal's encoder."""
        return self.study.encoder(self.config(proposal).signature())


def failed(
    context: StudyContext, proposal: Proposal, host: str, reason: str, devices: float
) -> Record:
    """Make the record of a trial that cannot be finished.

    Args:
        context: of the study.
        proposal: the trial.
        host: that it failed on; empty if unknown.
        reason: one line.
        devices: that it held.
    """
    # What it took counts, though nothing came of it.
    seconds = sum(epoch.seconds for epoch in unfinished(context.encoder(proposal))[0])
    config = context.config(proposal)
    return Record.failed(
        proposal, config, reason, train_seconds=seconds, host=host, devices=devices
    )


def pruned(context: StudyContext, proposal: Proposal, host: str, devices: float) -> Record | None:
    """Make the record of a trial that is pruned.

    Args:
        context: of the study.
        proposal: the trial.
        host: that it runs on.
        devices: that it holds.

    Returns:
        None if its training has ended meanwhile: then it may as well be scored.
    """
    history, resumes = unfinished(context.encoder(proposal))
    if not history:
        return None
    config = context.config(proposal)
    return Record.pruned(proposal, config, history, resumes, host=host, devices=devices)
