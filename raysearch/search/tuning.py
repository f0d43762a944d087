"""The only module that knows Ray: a search as a Tune run.

Tune schedules; the study's records decide. Each trial writes its own record where it ends, the
searcher asks `Sampler` and reads records back, so nothing of Tune's state is needed to resume.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from raysearch.search.resources import Resources, fit
from raysearch.search.sampler import Sampler
from raysearch.search.study import Proposal, Record, State, StudyFolder
from raysearch.search.worker import Job, work

# Set before ray is imported, which reads them then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Ctrl-C ends the trials at once: they go on from their checkpoints.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A trial stays in the folder that the command was typed in, where relative paths mean something.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

import ray
from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.logger import TBXLoggerCallback
from ray.tune.search import Searcher


class View(Protocol):
    """Somebody who watches a search."""

    def cluster(self, dashboard: str, concurrent: int) -> None:
        """The search begins."""

    def started(self, proposal: Proposal) -> None:
        """A trial was given out."""

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""

    def finished(self, record: Record) -> None:
        """A trial ended."""

    def tick(self) -> None:
        """Time has passed."""


@contextmanager
def cluster() -> Iterator[str]:
    """Joins the Ray cluster of `$RAY_ADDRESS`, else starts one on this machine.

    Yields:
        Address of the dashboard, empty if there is none.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address:
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    else:
        # Without a network Ray would probe for an address to call its own.
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    try:
        yield f"http://{context.dashboard_url}" if context.dashboard_url else ""
    finally:
        ray.shutdown()


def search(
    job: Job,
    sampler: Sampler,
    trials: int,
    resources: Resources,
    view: View,
    *,
    time_budget: float | None = None,
) -> bool:
    """Runs trials until the study has as many as were asked for.

    Args:
        job: what all trials share.
        sampler: of the study, with what was tried so far.
        trials: of the study in all, earlier ones included.
        resources: of a trial.
        view: told of everything.
        time_budget: seconds after which running trials are stopped.

    Returns:
        Whether it came to its end; False if it was interrupted.

    Raises:
        UserError: the cluster cannot run such a trial.
    """
    study = StudyFolder(job.folder)
    with cluster() as dashboard:
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus, cpus, concurrent = fit(resources, have.get("GPU", 0.0), int(have.get("CPU", 1)))
        view.cluster(dashboard, concurrent)
        searcher = _Searcher(study, sampler, trials)
        trainable = tune.with_resources(
            tune.with_parameters(_trial, job=job, cpus=cpus), {"cpu": cpus, "gpu": gpus}
        )
        tensorboard = TBXLoggerCallback()  # type: ignore[no-untyped-call]
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=trials,
                max_concurrent_trials=concurrent,
                time_budget_s=time_budget,
                reuse_actors=True,
                trial_dirname_creator=_folder_name,
            ),
            run_config=RunConfig(
                name="tune",
                storage_path=str(job.folder.absolute()),
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[_Relay(study, sampler, view), tensorboard],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            return False
    return True


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


class _Stateless:
    """Leaves nothing in the pickles that Tune writes of its parts: records are the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Stateless, Searcher):
    """Hands out first what an interrupted run left open, then what the sampler proposes."""

    def __init__(self, study: StudyFolder, sampler: Sampler, trials: int) -> None:
        super().__init__()
        self.study, self.sampler, self.trials = study, sampler, trials
        self.waiting = [p for p in study.proposals() if p.number in sampler.open]
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        if self.waiting:
            proposal = self.waiting.pop(0)
        else:
            if self.sampler.next_number >= self.trials:
                return str(Searcher.FINISHED)
            asked = self.sampler.ask()
            if asked is None:
                return str(Searcher.FINISHED)
            proposal = asked
            self.study.propose(proposal)
        self.numbers[trial_id] = proposal.number
        return {"number": proposal.number, "proposal": asdict(proposal)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        record = self.study.record(self.numbers[trial_id])
        if record is not None:
            self.sampler.tell(record)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records and proposals are the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is rebuilt from its records")


class _Relay(_Stateless, Callback):
    """Passes Tune's events on to the view, and records trials whose process died."""

    def __init__(self, study: StudyFolder, sampler: Sampler, view: View) -> None:
        self.study, self.sampler, self.view = study, sampler, view

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.view.started(Proposal(**trial.config["proposal"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        if "epoch" in result and number in self.sampler.open:
            self.sampler.report(number, result["epoch"], result["val_loss"])
            self.view.epoch(number, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self.study.record(trial.config["number"])
        if record is not None:
            self.view.finished(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        error = str(trial.get_error() or "its process died").strip().splitlines()[-1]
        job_record = Record(
            Proposal(**trial.config["proposal"]), State.FAIL, "", 0, 0, "", error=error
        )
        self.study.add(job_record)
        record = self.study.record(number)
        assert record is not None
        self.sampler.tell(record)
        self.view.finished(record)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.view.tick()


def _trial(config: dict[str, Any], job: Job, cpus: int) -> None:
    """The trainable: runs in a process of its own, on any node."""
    work(job, Proposal(**config["proposal"]), cpus, tune.report)
