"""A search as a Tune run, of one study or of several at once.

Tune schedules; the studies' records decide. Each trial writes its own record where it ends, the
searcher asks the agendas and reads records back, so nothing of Tune's state is needed to resume.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, RunConfig
from ray.tune.search import Searcher

from raysearch.backend.callbacks import Ended, Pruned, Relay, Stateless
from raysearch.backend.environment import MLFLOW, SEARCH, environment
from raysearch.backend.joining import Joining
from raysearch.backend.preloading import Preloading
from raysearch.backend.ray_internals import uncounted
from raysearch.backend.resources import Cluster, Resources, Share, fit
from raysearch.backend.search_callback import CallbackList, SearchCallback
from raysearch.backend.tensorboard import TENSORBOARD, TensorBoard
from raysearch.backend.trainable import Work, run_proposal
from raysearch.errors import UserError
from raysearch.search.budget import Budget
from raysearch.search.fair_share import Queue
from raysearch.search.trial_queue import Agenda
from raysearch.storage import tune_storage

DRIVER_CPUS = 0.01
"""Of the process that only waits for a trial's workers; Ray refuses 0."""

RETRIES = 3
"""How often a trial is taken up again without having finished another epoch.

However often a spot node is taken away, a trial that gets on is not given up.
"""


def search(
    agendas: Sequence[Agenda],
    resources: Resources,
    callbacks: Sequence[SearchCallback],
    cluster: Joining,
    *,
    budget: Budget | None = None,
    work: Work | None = None,
    later: Preloading | None = None,
) -> bool:
    """Runs trials until every study is over or a budget is spent.

    Args:
        agendas: of the studies, whose folders lie side by side.
        resources: of a trial.
        callbacks: told of everything.
        cluster: that runs them.
        budget: of all studies together; what it stops goes on when the search is called again.
        work: what a trial that one process trains does instead of `worker.work`.
        later: begins with the first epoch of a trial; has tensorboardX among its modules.

    Returns:
        Whether it came to its end; False if it was interrupted.

    Raises:
        UserError: the cluster cannot be joined, or cannot run such a trial, or no trial of a study
            can be trained.
    """
    try:
        joined = cluster.joined()
        if resources.gpus == "auto":
            resources = replace(resources, gpus=_packed(agendas, joined))
        if joined.address:
            _check_reach(agendas)
        share = fit(resources, joined.nodes, joined.where)
        for agenda in agendas:
            agenda.devices = share.devices
        # To start a cluster is not to search.
        budget = replace(budget or Budget(), start=time.monotonic())
        with later or Preloading((TENSORBOARD,)) as later, TensorBoard(later) as board:
            relay = Relay(agendas, CallbackList(callbacks), cluster, share, later)
            with environment(SEARCH, MLFLOW), uncounted():
                _tuner(agendas, share, relay, budget, work, board).fit()
    except KeyboardInterrupt:
        return False
    if relay.refused is not None:
        raise UserError(relay.refused)
    return True


def _check_reach(agendas: Sequence[Agenda]) -> None:
    from raysearch.backend.preflight import check_reach

    for agenda in agendas:
        check_reach(agenda.context.absolute())


def _packed(agendas: Sequence[Agenda], joined: Cluster) -> float | None:
    """What part of a GPU a trial of any of the studies should hold."""
    from raysearch.backend.gpu_packing import pack

    batch = max(agenda.space.search.largest_batch for agenda in agendas)
    # Most machine types have the same options, and each measurement takes a while.
    options = [agenda.space.fixed for agenda in agendas]
    different = [one for place, one in enumerate(options) if one not in options[:place]]
    parts = [pack(one, batch, joined.nodes) for one in different]
    return max((part for part in parts if part is not None), default=None)


def _tuner(
    agendas: Sequence[Agenda],
    share: Share,
    relay: Relay,
    budget: Budget,
    work: Work | None,
    board: TensorBoard,
) -> tune.Tuner:
    contexts = {agenda.name: agenda.context.absolute() for agenda in agendas}
    # One parameter rather than three: each is fetched anew for every trial.
    trainable = tune.with_parameters(run_proposal, given=(contexts, share, work))
    cpus = DRIVER_CPUS if share.workers > 1 else share.cpus
    gpus = 0 if share.workers > 1 else share.gpus
    folder = agendas[0].study.path
    storage, filesystem = tune_storage(folder if len(agendas) == 1 else folder.parent)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(agendas, share.concurrent),
            scheduler=Pruned(relay, together=share.workers > 1),
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
            stop=Ended(agendas, budget, relay),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[relay, board, *_mlflow(agendas, relay.told)],
            verbose=0,
        ),
    )


def _mlflow(agendas: Sequence[Agenda], told: SearchCallback) -> list[Callback]:
    names = [agenda.name for agenda in agendas if agenda.space.tracking == "mlflow"]
    if not names:
        return []
    from raysearch.backend.mlflow_runs import MLflowRuns

    return [MLflowRuns(name, told.on_warning) for name in names]


def _folder_name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


def _long_folder_name(trial: Any) -> str:
    return f"{trial.config['study']}_{trial.config['number']:04d}"


class _Searcher(Stateless, Searcher):
    """Hands out what the queue has."""

    def __init__(self, agendas: Sequence[Agenda], concurrent: int) -> None:
        super().__init__()
        self.queue = Queue(agendas, concurrent)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        given = self.queue.next(trial_id)
        if given is None:
            return str(Searcher.FINISHED) if self.queue.over else None
        study, proposal = given
        return proposal.to_tune(study)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """`Relay` tells the agenda what the record says."""
        self.queue.left(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: records and proposals are the state."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise AssertionError("a study is rebuilt from its records")
