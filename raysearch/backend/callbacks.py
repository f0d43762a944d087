"""Callbacks, stopper and scheduler of Tune: they forward events to trial queues and callbacks.

Their pickles, which Tune writes, are empty: records are the state.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from ray.tune import Callback, Stopper, TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raysearch.backend.background_import import BackgroundImport
from raysearch.backend.connection import RayConnection
from raysearch.backend.failures import able_nodes, failure_of
from raysearch.backend.resources import Share
from raysearch.backend.search_callback import CallbackList
from raysearch.backend.watch import Arrival
from raysearch.search.budget import Budget
from raysearch.search.retries import ATTEMPTS, HOST_FAILURES, Retries
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import pruned_record
from raysearch.study.records import Proposal, State
from raysearch.training.outcome import Epoch


class Stateless:
    """Base of objects that Tune pickles: their pickles are empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


@contextmanager
def errors_of_callbacks() -> Iterator[None]:
    """Raise what a callback raised; Tune raises an error with the text of its traceback instead."""
    try:
        yield
    except TuneError as error:
        if error.__context__ is None:
            raise
        raise error.__context__ from None


class BudgetStopper(Stateless, Stopper):
    """Stopper of a search whose budget is spent, or in which no trial can be trained.

    No trial can be trained if all refuse, or if every attempt fails on machines.
    """

    def __init__(
        self, queues: Sequence[TrialQueue], budget: Budget, forwarder: "EventForwarder"
    ) -> None:
        self.queues, self.budget, self.forwarder = queues, budget, forwarder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: the stopper ends no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return True when the search ends."""
        spent = sum(queue.device_seconds for queue in self.queues)
        forwarder = self.forwarder
        is_useless = forwarder.refusal is not None or forwarder.retries.is_hopeless
        return is_useless or self.budget.spent(spent) is not None


class PruningScheduler(Stateless, FIFOScheduler):
    """Scheduler that stops a trial when the study's pruner prunes the trial."""

    def __init__(self, forwarder: "EventForwarder", *, trials_stop_themselves: bool) -> None:
        """Take the forwarder, which asks the pruner.

        Args:
            forwarder: of the search.
            trials_stop_themselves: True if the workers of a trial see the record and end together.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.forwarder, self.trials_stop_themselves = forwarder, trials_stop_themselves

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return Tune's decision after a result of a trial."""
        prune = "epoch" in result and self.forwarder.should_prune(trial, result)
        stop = prune and not self.trials_stop_themselves
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class EventForwarder(Stateless, Callback):
    """Forwarder of Tune's events to trial queues and callbacks.

    The forwarder writes the record of a trial that was pruned, and puts back a trial that failed on
    a machine.
    """

    def __init__(
        self,
        queues: Sequence[TrialQueue],
        callbacks: CallbackList,
        connection: RayConnection,
        share: Share,
        background_import: BackgroundImport,
    ) -> None:
        self.queues = {queue.name: queue for queue in queues}
        self.callbacks, self.connection, self.share = callbacks, connection, share
        self.background_import = background_import
        self.retries = Retries(share.concurrent)
        self.arrival: Arrival | None = None
        self.running: set[str] = set()
        """IDs of Tune's running trials."""
        self.is_cluster_announced = False
        self.trained: set[str] = set()
        """Studies of which a trial has finished an epoch in this run."""
        self.refusal: str | None = None
        """Reason why no trial of a study can be trained."""
        self.pruned: set[tuple[str, int]] = set()

    def should_prune(self, trial: Any, result: Mapping[str, Any]) -> bool:
        """Return True if a trial is pruned after an epoch; its record is then on disk."""
        queue, proposal = self._trial_of(trial)
        if proposal.number in queue.records or (queue.name, proposal.number) in self.pruned:
            return False
        if not queue.report(proposal.number, _epoch(result)):
            return False
        record = pruned_record(queue.context, proposal, result["hostname"], queue.devices)
        if record is not None:
            self.pruned.add((queue.name, proposal.number))
            queue.study.add(record)
        return record is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Announce the cluster before the first trial, then the trial."""
        self.running.add(trial.trial_id)
        self._announce_cluster()
        self.callbacks.on_trial_start(trial.config["study"], self._trial_of(trial)[1])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Forward an epoch, or the number of clips that were decoded."""
        study, number = trial.config["study"], trial.config["number"]
        if "refused" in result:
            if not self._is_trainable(study):
                self.refusal = result["refused"]
        elif "note" in result:
            self.callbacks.on_warning(f"{study} trial {number}: {result['note']}")
        elif "epoch" in result:
            self.trained.add(study)
            self.retries.succeed(study, number, str(result.get("node", "")))
            # Not earlier: until its first epoch the trial imports modules, too.
            self.background_import.start()
            self.callbacks.on_epoch_end(study, number, _epoch(result))
        elif "clips_read" in result:
            self.callbacks.on_recordings_read(
                study, number, result["hostname"], result["clips_read"]
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forward the record of a trial."""
        self.running.discard(trial.trial_id)
        if "refused" in trial.last_result and self.refusal is None:
            self._fail(trial)
        self._forward_record(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Put a trial back that failed on a machine, unless the trial has its record."""
        self.running.discard(trial.trial_id)
        queue, proposal = self._trial_of(trial)
        if queue.study.record(proposal.number) is None:
            self._fail(trial)
        self._forward_record(trial)

    def _is_trainable(self, study: str) -> bool:
        """Return True if a trial of a study was trained, so that its network can be built."""
        records = self.queues[study].records.values()
        return study in self.trained or any(r.state is not State.FAIL for r in records)

    def _fail(self, trial: Any) -> None:
        """Schedule the next attempt of a trial that failed on a machine."""
        queue, proposal = self._trial_of(trial)
        queue.study.check_present()
        failure = failure_of(trial)
        host = failure.host or "an unknown machine"
        self.callbacks.on_trial_restart(queue.name, proposal.number, host, failure.reason)
        if self.retries.fail(failure) is None:
            queue.put_aside(proposal, failure.reason)
            self.callbacks.on_warning(
                f"{queue.name} trial {proposal.number}: failed {ATTEMPTS} times in a row on "
                "machines; it is left to the next run of the same command"
            )
        else:
            queue.retry(proposal)
        if self.retries.nodes.get(failure.node) == HOST_FAILURES:
            self.callbacks.on_warning(
                f"{host} failed {HOST_FAILURES} times in a row: trials go to other machines, if "
                "there are any; check it with `raysearch doctor`"
            )

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Forward the end of a step of Tune's loop."""
        # The dashboard starts last; the first trial, though, is never announced before the cluster.
        if self.connection.is_complete:
            self._announce_cluster()
        self._await_machines()
        self.callbacks.on_step_end()

    def _await_machines(self) -> None:
        """Warn if no trial has been running for long."""
        if self.arrival is None:
            self.arrival = Arrival(self.connection.cluster().nodes, self.share, able_nodes)
        if self.running or self.retries.pausing:
            self.arrival.reset()
        elif line := self.arrival.notice():
            self.callbacks.on_warning(line)

    def _announce_cluster(self) -> None:
        if not self.is_cluster_announced:
            self.is_cluster_announced = True
            self.callbacks.on_cluster_ready(self.connection.cluster(), self.share)

    def _trial_of(self, trial: Any) -> tuple[TrialQueue, Proposal]:
        return self.queues[trial.config["study"]], Proposal.from_tune(trial.config)

    def _forward_record(self, trial: Any) -> None:
        queue, proposal = self._trial_of(trial)
        record = queue.study.record(proposal.number)
        if record is not None:
            # An encoder that is only loaded has no epoch.
            node = str((trial.last_result or {}).get("node", ""))
            self.retries.succeed(queue.name, proposal.number, node)
            queue.tell(record)
            self.callbacks.on_trial_end(queue.name, record)


def _epoch(result: Mapping[str, Any]) -> Epoch:
    return Epoch(**{field.name: result[field.name] for field in fields(Epoch)})
