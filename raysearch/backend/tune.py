"""A search as a Tune run, of one study or of several at once.

Tune schedules; the studies' records decide. Each trial writes its own record on its node. The
searcher asks the trial queues and reads records back, so a resume needs nothing of Tune's state.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.search import Searcher

from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.callbacks import (
    BudgetStopper,
    EventForwarder,
    PruningScheduler,
    Stateless,
    errors_of_callbacks,
)
from raysearch.backend.connection import RayConnection
from raysearch.backend.environment import MLFLOW, SEARCH, environment, tune_storage
from raysearch.backend.failures import able_nodes, selector
from raysearch.backend.ray_internals import lost_processes_fail_alone, without_callback_count
from raysearch.backend.resources import Cluster, Resources, Share, allocate
from raysearch.backend.search_callback import CallbackList, SearchCallback
from raysearch.backend.tensorboard import TENSORBOARD, TensorBoard
from raysearch.backend.trainable import RunTrial, run_tune_trial
from raysearch.backend.watch import leave
from raysearch.config import UNTRAINED
from raysearch.errors import MachineError, UserError
from raysearch.search.budget import Budget
from raysearch.search.fair_share import FairShare
from raysearch.search.retries import Retries
from raysearch.search.trial_queue import TrialQueue

DRIVER_CPUS = 0.01
"""CPUs of the process that only waits for a trial's workers; Ray refuses 0."""


@dataclass(frozen=True)
class Extras:
    """Parts of a search that its caller may replace.

    Attributes:
        run_trial: function that a trial of one process runs instead of `run_worker_trial`.
        background_import: starts with the first epoch of a trial; its modules must have
            tensorboardX among them.
    """

    run_trial: RunTrial | None = None
    background_import: BackgroundImport | None = None


def search(
    queues: Sequence[TrialQueue],
    resources: Resources,
    callbacks: Sequence[SearchCallback],
    connection: RayConnection,
    *,
    budget: Budget | None = None,
    extras: Extras = Extras(),
) -> bool:
    """Run trials until every study is finished or a budget is spent.

    Args:
        queues: of the studies, whose folders lie side by side.
        resources: of a trial.
        callbacks: receive the events of the search.
        connection: to the cluster that runs the trials.
        budget: of all studies together; trials stopped by the budget resume on the next call.
        extras: of the search's processes.

    Returns:
        False if the search was interrupted by Ctrl-C.

    Raises:
        UserError: the cluster cannot be joined, or cannot run such a trial, or no trial of a study
            can be trained.
        MachineError: attempt after attempt failed on machines, or the storage failed.
    """
    budget, events = budget or Budget(), CallbackList(callbacks)
    events.on_search_start(queues, budget)
    try:
        refusal = _search(queues, resources, events, connection, budget, extras)
    except KeyboardInterrupt:
        return False
    finally:
        events.on_search_end()
    if refusal is not None:
        raise UserError(refusal)
    return True


def _search(
    queues: Sequence[TrialQueue],
    resources: Resources,
    events: CallbackList,
    connection: RayConnection,
    budget: Budget,
    extras: Extras,
) -> str | None:
    """Run trials; return the reason if no trial of a study can be trained.

    Raises:
        MachineError: attempt after attempt failed on machines.
    """
    cluster = connection.cluster()
    if resources.gpus == "auto":
        resources = replace(resources, gpus=_gpu_part(queues, cluster))
    if cluster.address:
        _check_access(queues)
    share = allocate(resources, cluster.nodes, cluster.where)
    for queue in queues:
        queue.devices = share.devices
    # The time budget counts from here: the start of a cluster is not part of the search.
    budget = replace(budget, start=time.monotonic())
    imports = extras.background_import or BackgroundImport((TENSORBOARD,))
    with imports, TensorBoard(imports) as board:
        forwarder = EventForwarder(queues, events, connection, share, imports)
        stopper = BudgetStopper(queues, budget, forwarder)
        connection.on_loss = lambda address: _leave(address, queues, events)
        with (
            environment(SEARCH, MLFLOW),
            quiet_tune(),
            without_callback_count(),
            lost_processes_fail_alone(),
            errors_of_callbacks(),
        ):
            _tuner(queues, forwarder, stopper, board, extras.run_trial).fit()
    if forwarder.retries.is_hopeless:
        raise _surrender(forwarder.retries)
    return forwarder.refusal


def _leave(address: str, queues: Sequence[TrialQueue], events: CallbackList) -> None:
    events.on_search_end()  # The terminal is as before.
    ended, total = sum(len(q.records) for q in queues), sum(q.total for q in queues)
    leave(address, f"with {ended} of {total} trials done")


def _surrender(retries: Retries) -> MachineError:
    """Make the error of a search whose attempts all fail on machines."""
    last = retries.failures[-1]
    where = f" on {last.host}" if last.host else ""
    return MachineError(
        f"the last {len(retries.failures)} attempts to train failed{where} ({last.reason}); no "
        "trial counts as failed, and the same command goes on once that is mended"
    )


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Drop Tune's messages in this block: the view names each failed attempt in a line."""
    tune_logger = logging.getLogger("ray.tune")
    before = tune_logger.level
    tune_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        tune_logger.setLevel(before)


def _check_access(queues: Sequence[TrialQueue]) -> None:
    from raysearch.backend.cluster import check_access

    for queue in queues:
        check_access(queue.context.absolute())


SIZES = (
    *("method", "machine_loss", "backbone", "embedding", "precision"),
    *("rate", "segment_seconds", "n_fft", "hop", "n_mels"),
)
"""Options that decide on the memory of a training."""


def _gpu_part(queues: Sequence[TrialQueue], cluster: Cluster) -> float | None:
    """Return the part of a GPU that a trial of any of the studies should hold."""
    from raysearch.backend.gpu_packing import measure_gpu_part

    batch = max(queue.space.search.largest_batch for queue in queues)
    # Each measurement takes a while, and most trials have a network of the same size.
    distinct = {
        tuple(getattr(options, name) for name in SIZES): options
        for queue in queues
        for options in queue.space.trial_options()
        if options.method not in UNTRAINED
    }
    parts = [measure_gpu_part(options, batch, cluster.nodes) for options in distinct.values()]
    return max((part for part in parts if part is not None), default=None)


def _tuner(
    queues: Sequence[TrialQueue],
    forwarder: EventForwarder,
    stopper: BudgetStopper,
    board: TensorBoard,
    run_trial: RunTrial | None,
) -> tune.Tuner:
    share = forwarder.share
    contexts = {queue.name: queue.context.absolute() for queue in queues}
    # One parameter rather than three: Tune fetches each parameter anew for every trial.
    trainable = tune.with_parameters(run_tune_trial, parameters=(contexts, share, run_trial))
    for queue in queues:  # Tune would make a missing folder anew.
        queue.study.check_present()
    folder = queues[0].study.path
    storage, filesystem = tune_storage(folder if len(queues) == 1 else folder.parent)
    return tune.Tuner(
        tune.with_resources(trainable, partial(trial_resources, share)),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(queues, share, forwarder.retries),
            scheduler=PruningScheduler(forwarder, trials_stop_themselves=share.workers > 1),
            num_samples=-1,
            max_concurrent_trials=share.concurrent,
            # Saves the import of torch; but a process that waits for its workers cannot be reused.
            reuse_actors=share.workers == 1,
            trial_name_creator=_long_folder_name,
            trial_dirname_creator=_folder_name if len(queues) == 1 else _long_folder_name,
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=storage,
            storage_filesystem=filesystem,
            stop=stopper,
            # `Retries` starts a trial again: after a pause, and on another machine.
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[forwarder, board, *_mlflow(queues, forwarder.callbacks)],
            verbose=0,
        ),
    )


def trial_resources(share: Share, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """Return the resources of a trial for Tune, on the machines that are not to be avoided.

    Args:
        share: of the cluster that a trial holds.
        config: of the trial.
    """
    together = share.workers > 1
    bundle = {"CPU": DRIVER_CPUS if together else share.cpus, "GPU": 0 if together else share.gpus}
    if labels := selector(config):
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=[labels])
    return tune.PlacementGroupFactory([bundle])


def _mlflow(queues: Sequence[TrialQueue], callbacks: SearchCallback) -> list[Callback]:
    names = [queue.name for queue in queues if queue.space.tracking == "mlflow"]
    if not names:
        return []
    from raysearch.backend.mlflow_runs import MLflowRuns

    return [MLflowRuns(name, callbacks.on_warning) for name in names]


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


def _long_folder_name(trial: Any) -> str:
    return f"{trial.config['study']}_{trial.config['number']:04d}"


class _Searcher(Stateless, Searcher):
    """Searcher of Tune that suggests the trials of several studies in turn."""

    def __init__(self, queues: Sequence[TrialQueue], share: Share, retries: Retries) -> None:
        super().__init__()
        self.share, self.retries = share, retries
        self.fair_share = FairShare(queues, share.concurrent, retries)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        suggestion = self.fair_share.next(trial_id)
        if suggestion is None:
            return str(Searcher.FINISHED) if self.fair_share.is_finished else None
        study, proposal = suggestion
        able = able_nodes(self.share) if self.retries.nodes else ()
        avoided = self.retries.avoid(study, proposal.number, able)
        return proposal.to_tune(study) | ({"avoid": list(avoided)} if avoided else {})

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Release the trial's slot; `EventForwarder` passes the record on."""
        self.fair_share.release(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: records and proposals are the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is rebuilt from its records")
