"""Context of a study for all processes of a run, and the records of trials without a result.

The driver writes the record of a trial that was pruned or whose process was killed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from upath import UPath

from raysearch.config import Options
from raysearch.data.source import Source
from raysearch.scoring.spec import InlierSpec
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration, TrialConfig
from raysearch.training.outcome import Epoch
from raysearch.training.state import read_epochs, read_progress


@dataclass(frozen=True)
class StudyContext:
    """The folder, recordings and space of a study; small, since each node receives a copy.

    Attributes:
        folder: path as the user wrote it, and as messages show it.
        source: of the recordings.
        fingerprint: of the recordings.
        space: search space.
        files: hashes of the files that the space names, see `TrialConfig`.
        machines: recordings of each machine type of a shared search, with their fingerprints;
            empty for a search on the machine type of `source`.
        root: folder of the study where the training of a test machine lies below it; None if that
            is `folder`.
    """

    folder: UPath
    source: Source
    fingerprint: str
    space: Space
    files: Mapping[str, str] = field(default_factory=dict)
    machines: tuple[tuple[Source, str], ...] = ()
    root: UPath | None = None

    def absolute(self) -> "StudyContext":
        """Return the context with absolute folders, for processes in other working folders."""
        root = None if self.root is None else self.root.absolute()
        return replace(self, folder=self.folder.absolute(), root=root)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def study(self) -> StudyFolder:
        """Reader and writer of the folder."""
        return StudyFolder(self.folder, self.root)

    @property
    def parts(self) -> tuple["StudyContext", ...]:
        """Contexts of the encoders of a trial: one for each machine type of a shared search."""
        if not self.machines:
            return (self,)
        return tuple(
            replace(self, source=source, fingerprint=fingerprint, machines=())
            for source, fingerprint in self.machines
        )

    @property
    def options(self) -> Options:
        """Fixed options of a trial."""
        return self.space.fixed

    @property
    def inliers(self) -> tuple[InlierSpec, ...]:
        """Inlier models of the sweep."""
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
        config = proposal.config(machine, data, self.seed, self.options)
        return config.model_copy(update={"files": dict(self.files)}) if self.files else config

    @property
    def untrained_config(self) -> TrialConfig:
        """Configuration without hyperparameters: of the reference, which trains nothing."""
        return self.config(Proposal(0, Configuration(None, None, None)))

    def encoder(self, proposal: Proposal) -> UPath:
        """Return the folder of the checkpoints of a proposal's encoder."""
        return self.study.encoder(self.config(proposal).signature())

    def epochs_of(self, proposal: Proposal) -> tuple[Epoch, ...]:
        """Read the finished epochs of a trial, counted over all machine types of a shared search.

        A trial of a shared search trains one encoder after the other.
        """
        return tuple(
            replace(epoch, epoch=number * self.options.epochs + epoch.epoch)
            for number, part in enumerate(self.parts)
            for epoch in read_epochs(part.encoder(proposal))
        )


def failed_record(
    context: StudyContext, proposal: Proposal, host: str, reason: str, devices: float
) -> Record:
    """Make the record of a failed trial.

    Args:
        context: of the study.
        proposal: the trial.
        host: of the failure; empty if unknown.
        reason: one line.
        devices: number of devices of the trial.
    """
    # A failed trial counts towards the cost of the study.
    seconds = sum(epoch.seconds for epoch in context.epochs_of(proposal))
    config = context.config(proposal)
    return Record.failed(
        proposal, config, reason, train_seconds=seconds, host=host, devices=devices
    )


def pruned_record(
    context: StudyContext, proposal: Proposal, host: str, devices: float
) -> Record | None:
    """Make the record of a pruned trial.

    Args:
        context: of the study.
        proposal: the trial.
        host: of the trial.
        devices: number of devices of the trial.

    Returns:
        None if the training has ended in the meantime: the trial is scored instead.
    """
    history, resumes = read_progress(context.encoder(proposal))
    if not history:
        return None
    config = context.config(proposal)
    return Record.pruned(proposal, config, history, resumes, host=host, devices=devices)
