"""What a trial's process does: run the trial, write its record. It knows no scheduler."""

import socket
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from raysearch.audio.dataset import Source
from raysearch.config import Options, TrialConfig
from raysearch.errors import DataError
from raysearch.score.inlier import InlierSpec
from raysearch.search.study import Proposal, Record, State, StudyFolder


@dataclass(frozen=True)
class Job:
    """What every trial of a study shares; small, since it travels to each node."""

    folder: Path
    source: Source
    fingerprint: str
    options: Options
    inliers: tuple[InlierSpec, ...]
    seed: int

    def config(self, proposal: Proposal) -> TrialConfig:
        """The configuration of a proposal's encoder."""
        return TrialConfig(
            machine=self.source.machine,
            data=self.fingerprint,
            lr=proposal.lr,
            batch_size=proposal.batch_size,
            lam=proposal.lam,
            seed=self.seed,
            options=self.options,
        )


def work(job: Job, proposal: Proposal, cpus: int, report: Callable[[dict[str, Any]], None]) -> None:
    """Runs a trial to its record, be it COMPLETE or FAIL.

    Args:
        job: what all trials share.
        proposal: the trial.
        cpus: threads it may use.
        report: told of every epoch, and of the end.
    """
    study = StudyFolder(job.folder)
    if study.record(proposal.number) is not None:
        return
    try:
        record = _complete(job, proposal, cpus, report)
    except Exception as error:  # Whatever it is, the search goes on and says it.
        record = _failed(job, proposal, error)
    study.add(record)
    best = record.best
    report({"state": str(record.state), "val_score": best.val_score if best else None})


def _complete(
    job: Job, proposal: Proposal, cpus: int, report: Callable[[dict[str, Any]], None]
) -> Record:
    # Imported here: the process that schedules needs no torch.
    import torch

    from raysearch.audio.dataset import open_data
    from raysearch.train import Epoch
    from raysearch.trial import run_trial

    def report_epoch(epoch: Epoch) -> None:
        report({**asdict(epoch), "timesteps_total": epoch.epoch})

    torch.set_num_threads(cpus)
    config = job.config(proposal)
    inliers = (InlierSpec(proposal.inlier, proposal.p),) if proposal.inlier else job.inliers
    folder = StudyFolder(job.folder).encoder(config.signature())
    folder.mkdir(parents=True, exist_ok=True)
    data = open_data(job.source)
    if data.fingerprint != job.fingerprint:
        raise DataError(f"{job.source.root} holds other recordings than the search began with")
    # With `inlier: sample` two trials may want one encoder: the second waits and loads it.
    with FileLock(folder / "lock"):
        result = run_trial(config, data, inliers, report_epoch, folder)
    return Record(state=State.COMPLETE, **_facts(job, proposal), **vars(result))


def _failed(job: Job, proposal: Proposal, error: Exception) -> Record:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    folder = StudyFolder(job.folder).encoder(job.config(proposal).signature())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(traceback.format_exc())
    return Record(state=State.FAIL, error=reason, **_facts(job, proposal))


def _facts(job: Job, proposal: Proposal) -> dict[str, Any]:
    return {
        "proposal": proposal,
        "encoder": job.config(proposal).signature(),
        "epochs": job.options.epochs,
        "seed": job.seed,
        "host": socket.gethostname(),
    }
