"""A search as a Tune run, of one study or of several at once.

Tune schedules; the studies' records decide. Each trial writes its own record where it ends, the
searcher asks the agendas and reads records back, so nothing of Tune's state is needed to resume.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, RunConfig, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from raysearch.errors import UserError
from raysearch.outcome import Epoch
from raysearch.search.agenda import Agenda
from raysearch.search.budget import Budget
from raysearch.search.job import failed, pruned
from raysearch.search.joining import Joining
from raysearch.search.queue import Queue
from raysearch.search.resources import Cluster, Resources, Share, fit
from raysearch.search.study import Proposal
from raysearch.search.tracking import TensorBoard, to_config, to_proposal
from raysearch.search.trainable import Work, run_proposal
from raysearch.search.view import View
from raysearch.storage import tune_storage

# Ray reads them when a search begins.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Ctrl-C ends the trials at once: they go on from their checkpoints.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A trial stays in the folder that the command was typed in, where relative paths mean something.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

DRIVER_CPUS = 0.01
"""Of the process that only waits for a trial's workers; Ray refuses 0."""

RETRIES = 3
"""How often a trial is taken up again without having finished another epoch.

However often a spot node is taken away, a trial that gets on is not given up.
"""


def search(
    agendas: Sequence[Agenda],
    resources: Resources,
    view: View,
    ray: Joining,
    *,
    budget: Budget | None = None,
    work: Work | None = None,
) -> bool:
    """Runs trials until every study is over or a budget is spent.

    Args:
        agendas: of the studies, whose folders lie side by side.
        resources: of a trial.
        view: told of everything.
        ray: the cluster that runs them.
        budget: of all studies together; what it stops goes on when the search is called again.
        work: what a trial that one process trains does instead of `worker.work`.

    Returns:
        Whether it came to its end; False if it was interrupted.

    Raises:
        UserError: the cluster cannot be joined, or cannot run such a trial, or no trial of a study
            can be trained.
    """
    try:
        joined = ray.cluster()
        if resources.gpus == "auto":
            resources = replace(resources, gpus=_packed(agendas, joined))
        if joined.address:
            _check_reach(agendas)
        share = fit(resources, joined.nodes, joined.where)
        for agenda in agendas:
            agenda.devices = share.devices
        # To start a cluster is not to search.
        budget = replace(budget or Budget(), start=time.monotonic())
        relay = _Relay(agendas, view, ray, share)
        _tuner(agendas, share, relay, budget, work).fit()
    except KeyboardInterrupt:
        return False
    if relay.refused:
        raise UserError(relay.refused)
    return True


def _check_reach(agendas: Sequence[Agenda]) -> None:
    from raysearch.search.reach import check_reach

    for agenda in agendas:
        check_reach(agenda.job)


def _packed(agendas: Sequence[Agenda], joined: Cluster) -> float | None:
    """What part of a GPU a trial of any of the studies should hold."""
    from raysearch.search.packing import pack

    batch = max(agenda.space.search.largest_batch for agenda in agendas)
    # Most machine types have the same options, and each measurement takes a while.
    options = [agenda.space.fixed for agenda in agendas]
    different = [one for place, one in enumerate(options) if one not in options[:place]]
    parts = [pack(one, batch, joined.nodes) for one in different]
    return max((part for part in parts if part is not None), default=None)


def _tuner(
    agendas: Sequence[Agenda], share: Share, relay: "_Relay", budget: Budget, work: Work | None
) -> tune.Tuner:
    jobs = {agenda.name: agenda.job for agenda in agendas}
    # One parameter rather than three: each is fetched anew for every trial.
    trainable = tune.with_parameters(run_proposal, given=(jobs, share, work))
    cpus = DRIVER_CPUS if share.workers > 1 else share.cpus
    gpus = 0 if share.workers > 1 else share.gpus
    folder = agendas[0].study.path
    storage, filesystem = tune_storage(folder if len(agendas) == 1 else folder.parent)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(agendas, share.concurrent),
            scheduler=_Stopper(relay, together=share.workers > 1),
            num_samples=-1,
            max_concurrent_trials=share.concurrent,
            # Saves the import of torch; but a process that waits for its workers cannot be reused.
            reuse_actors=share.workers == 1,
            trial_name_creator=_long_folder_name,
            trial_dirname_creator=_folder_name if len(agendas) == 1 else _long_folder_name,
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=storage,
            storage_filesystem=filesystem,
            stop=_Ended(agendas, budget, relay),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[
                relay,
                TensorBoard(),
                *_mlflow(agendas, relay.view),
            ],
            verbose=0,
        ),
    )


def _mlflow(agendas: Sequence[Agenda], view: View) -> list[Callback]:
    names = [agenda.name for agenda in agendas if agenda.space.tracking == "mlflow"]
    if not names:
        return []
    from raysearch.search.mlflow_runs import MLflowRuns

    return [MLflowRuns(name, view.warn) for name in names]


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


def _long_folder_name(trial: Any) -> str:
    return f"{trial.config['study']}_{trial.config['number']:04d}"


class _Stateless:
    """Leaves nothing in the pickles that Tune writes of its parts: records are the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Ended(_Stateless, Stopper):
    """Ends the search when a budget is spent, or when no trial can be trained."""

    def __init__(self, agendas: Sequence[Agenda], budget: Budget, relay: "_Relay") -> None:
        self.agendas, self.budget, self.relay = agendas, budget, relay

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether all are."""
        spent = sum(agenda.device_seconds for agenda in self.agendas)
        return bool(self.relay.refused or self.budget.spent(spent))


class _Searcher(_Stateless, Searcher):
    """Hands out what the queue has."""

    def __init__(self, agendas: Sequence[Agenda], concurrent: int) -> None:
        super().__init__()
        self.queue = Queue(agendas, concurrent)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        given = self.queue.next(trial_id)
        if given is None:
            return str(Searcher.FINISHED) if self.queue.over else None
        study, proposal = given
        return to_config(study, proposal)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """`_Relay` tells the agenda what the record says."""
        self.queue.left(trial_id)

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
    """Passes Tune's events on to agendas and view, and records what a trial cannot itself.

    That is: its process was killed, be it by fate or because the trial was given up.
    """

    def __init__(self, agendas: Sequence[Agenda], view: View, ray: Joining, share: Share) -> None:
        self.agendas = {agenda.name: agenda for agenda in agendas}
        self.view, self.ray, self.share = view, ray, share
        self.told_cluster = False
        self.refused = ""
        """Why no trial of a study can be trained."""
        self.given_up: set[tuple[str, int]] = set()

    def gives_up(self, trial: Any, result: Mapping[str, Any]) -> bool:
        """Takes a trial's epoch; if the trial should be stopped, writes its record."""
        agenda, proposal = self._whose(trial)
        if proposal.number in agenda.records or (agenda.name, proposal.number) in self.given_up:
            return False
        epoch = Epoch(**{field.name: result[field.name] for field in fields(Epoch)})
        if not agenda.report(proposal.number, epoch):
            return False
        record = pruned(agenda.job, proposal, result["hostname"], agenda.devices)
        if record is not None:
            self.given_up.add((agenda.name, proposal.number))
            agenda.study.add(record)
        return record is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell_cluster()
        self.view.started(trial.config["study"], self._whose(trial)[1])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        study, number = trial.config["study"], trial.config["number"]
        if "refused" in result:
            self.refused = result["refused"]
        elif "epoch" in result:
            trial.run_metadata.num_failures = 0
            self.view.epoch(study, number, result)
        elif "clips_read" in result:
            self.view.reading(study, number, result["hostname"], result["clips_read"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        host = trial.last_result.get("hostname") or trial.node_ip or "an unknown machine"
        self.view.lost(trial.config["study"], trial.config["number"], host, _reason(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        host = trial.last_result.get("hostname", "")
        agenda, proposal = self._whose(trial)
        agenda.study.add(failed(agenda.job, proposal, host, _reason(trial), agenda.devices))
        self._end(trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        # A dashboard starts more slowly than all the rest; a trial, though, is not told before.
        if self.ray.is_whole:
            self._tell_cluster()
        self.view.tick()

    def _tell_cluster(self) -> None:
        if not self.told_cluster:
            self.told_cluster = True
            self.view.cluster(self.ray.cluster(), self.share)

    def _whose(self, trial: Any) -> tuple[Agenda, Proposal]:
        return self.agendas[trial.config["study"]], to_proposal(trial.config)

    def _end(self, trial: Any) -> None:
        agenda, proposal = self._whose(trial)
        record = agenda.study.record(proposal.number)
        if record is not None:
            agenda.end(record)
            self.view.finished(agenda.name, record)


def _reason(trial: Any) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "its process died"
