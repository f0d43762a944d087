"""A search as a Tune run.

Tune schedules; the study's records decide. Each trial writes its own record where it ends, the
searcher asks `Sampler` and reads records back, so nothing of Tune's state is needed to resume.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Protocol

from raysearch.search.cluster import cluster
from raysearch.search.group import DRIVER_CPUS, train_together
from raysearch.search.packing import pack
from raysearch.search.reach import check_reach
from raysearch.search.resources import Cluster, Resources, Share, fit
from raysearch.search.sampler import Sampler
from raysearch.search.study import Proposal, Record, StudyFolder
from raysearch.search.worker import Job, failed, pruned, unfinished, work
from raysearch.storage import tune_storage
from raysearch.train import Epoch

# Set before ray's parts are imported, which read them then.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Ctrl-C ends the trials at once: they go on from their checkpoints.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A trial stays in the folder that the command was typed in, where relative paths mean something.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.logger import TBXLoggerCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher


class View(Protocol):
    """Somebody who watches a search."""

    def cluster(self, cluster: Cluster, share: Share) -> None:
        """The search begins."""

    def started(self, proposal: Proposal) -> None:
        """A trial was given out, or goes on after its process was lost."""

    def reading(self, number: int, host: str, clips: int) -> None:
        """A trial's machine decodes recordings, the first time it needs them."""

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""

    def lost(self, number: int, host: str, reason: str) -> None:
        """A trial's process or machine was lost; the trial goes on from its checkpoint."""

    def finished(self, record: Record) -> None:
        """A trial ended."""

    def tick(self) -> None:
        """Time has passed."""


RETRIES = 3
"""How often a trial is taken up again without having finished another epoch.

However often a spot node is taken away, a trial that gets on is not given up.
"""


def search(
    job: Job,
    sampler: Sampler,
    trials: int,
    resources: Resources,
    view: View,
    *,
    address: str = "",
    time_budget: float | None = None,
) -> bool:
    """Runs trials until the study has as many as were asked for.

    Args:
        job: what all trials share.
        sampler: of the study, with what was tried so far.
        trials: of the study in all, earlier ones included.
        resources: of a trial.
        view: told of everything.
        address: of the Ray cluster to join; empty starts one on this machine.
        time_budget: seconds after which running trials are stopped.

    Returns:
        Whether it came to its end; False if it was interrupted.

    Raises:
        UserError: the cluster cannot run such a trial, or cannot be joined.
    """
    with cluster(address) as joined:
        if resources.gpus == "auto":
            batch = sampler.space.search.largest_batch
            resources = replace(resources, gpus=pack(job.options, batch, joined.nodes))
        if address:
            check_reach(job)
        share = fit(resources, joined.nodes, joined.where)
        view.cluster(joined, share)
        tuner = _tuner(job, sampler, trials, share, view, time_budget)
        try:
            tuner.fit()
        except KeyboardInterrupt:
            return False
    return True


def _tuner(
    job: Job,
    sampler: Sampler,
    trials: int,
    share: Share,
    view: View,
    time_budget: float | None,
) -> tune.Tuner:
    relay = _Relay(job, sampler, view)
    trainable = tune.with_parameters(_trial, job=job, share=share)
    cpus = DRIVER_CPUS if share.workers > 1 else share.cpus
    gpus = 0 if share.workers > 1 else share.gpus
    storage, filesystem = tune_storage(job.folder)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(job, sampler, trials),
            scheduler=_Stopper(relay, together=share.workers > 1),
            num_samples=trials,
            max_concurrent_trials=share.concurrent,
            time_budget_s=time_budget,
            # Saves the import of torch; but a process that waits for its workers cannot be reused.
            reuse_actors=share.workers == 1,
            trial_dirname_creator=_folder_name,
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=storage,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[relay, TBXLoggerCallback()],  # type: ignore[no-untyped-call]
            verbose=0,
        ),
    )


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


class _Stateless:
    """Leaves nothing in the pickles that Tune writes of its parts: records are the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Stateless, Searcher):
    """Hands out first what an interrupted run left open, then what the sampler proposes."""

    def __init__(self, job: Job, sampler: Sampler, trials: int) -> None:
        super().__init__()
        self.job, self.sampler, self.trials = job, sampler, trials
        self.study = StudyFolder(job.folder)
        self.waiting = [p for p in self.study.proposals() if p.number in sampler.open]
        self.at_work: dict[str, str] = {}
        for proposal in self.waiting:
            # The pruner must know the rungs that they have behind them.
            for epoch in unfinished(job, proposal)[0]:
                sampler.report(proposal.number, epoch)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        proposal = self.waiting.pop(0) if self.waiting else self._ask()
        if proposal is None:
            return str(Searcher.FINISHED)
        encoder = self.job.config(proposal).signature()
        if encoder in self.at_work.values():
            # With `inlier: sample` two trials may want one encoder: the second loads it later.
            self.waiting.insert(0, proposal)
            return None
        self.at_work[trial_id] = encoder
        return {"number": proposal.number, "proposal": asdict(proposal)}

    def _ask(self) -> Proposal | None:
        if self.sampler.next_number >= self.trials:
            return None
        proposal = self.sampler.ask()
        if proposal is not None:
            self.study.propose(proposal)
        return proposal

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """`_Relay` tells the sampler what the record says."""
        self.at_work.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records and proposals are the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is rebuilt from its records")


class _Stopper(_Stateless, FIFOScheduler):
    """Stops a trial that the study's pruner gives up."""

    def __init__(self, relay: "_Relay", *, together: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.relay, self.together = relay, together

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stopped = "epoch" in result and self.relay.gives_up(trial, result)
        # Several workers see the record and end by themselves.
        return str(
            TrialScheduler.STOP if stopped and not self.together else TrialScheduler.CONTINUE
        )


class _Relay(_Stateless, Callback):
    """Passes Tune's events on to sampler and view, and records what a trial cannot itself.

    That is: its process was killed, be it by fate or because the trial was given up.
    """

    def __init__(self, job: Job, sampler: Sampler, view: View) -> None:
        self.job, self.sampler, self.view = job, sampler, view
        self.study = StudyFolder(job.folder)
        self.given_up: set[int] = set()

    def gives_up(self, trial: Any, result: Mapping[str, Any]) -> bool:
        """Takes a trial's epoch; if the trial should be stopped, writes its record."""
        proposal = Proposal(**trial.config["proposal"])
        number = proposal.number
        if number not in self.sampler.open or number in self.given_up:
            return False
        epoch = Epoch(**{field.name: result[field.name] for field in fields(Epoch)})
        if not self.sampler.report(number, epoch) or epoch.epoch == self.job.options.epochs:
            return False
        record = pruned(self.job, proposal, result["hostname"])
        if record is not None:
            self.given_up.add(number)
            self.study.add(record)
        return record is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.started(Proposal(**trial.config["proposal"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        if "epoch" in result:
            trial.run_metadata.num_failures = 0
            self.view.epoch(number, result)
        elif "clips_read" in result:
            self.view.reading(number, result["hostname"], result["clips_read"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        host = trial.last_result.get("hostname") or trial.node_ip or "an unknown machine"
        self.view.lost(trial.config["number"], host, _reason(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        host = trial.last_result.get("hostname", "")
        proposal = Proposal(**trial.config["proposal"])
        self.study.add(failed(self.job, proposal, host, _reason(trial)))
        self._end(proposal.number)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.view.tick()

    def _end(self, number: int) -> None:
        record = self.study.record(number)
        if record is not None:
            self.sampler.tell(record)
            self.view.finished(record)


def _reason(trial: Any) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "its process died"


def _trial(config: dict[str, Any], job: Job, share: Share) -> None:
    """The trainable: runs in a process of its own, on any node."""
    proposal = Proposal(**config["proposal"])
    if share.workers > 1:
        train_together(job, proposal, share, tune.get_context().get_trial_id())
    else:
        work(job, proposal, share, tune.report)
