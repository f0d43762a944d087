"""What Tune tells of a search, passed on: to agendas, to callbacks, and to records.

Its parts leave nothing in the pickles that Tune writes: records are the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raysearch.backend.joining import Joining
from raysearch.backend.preloading import Preloading
from raysearch.backend.resources import Share
from raysearch.backend.search_callback import CallbackList
from raysearch.search.budget import Budget
from raysearch.search.trial_queue import Agenda
from raysearch.study.context import failed, pruned
from raysearch.study.records import Proposal
from raysearch.training.outcome import Epoch


class Stateless:
    """Leaves nothing in the pickles that Tune writes of its parts: records are the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Ended(Stateless, Stopper):
    """Ends the search when a budget is spent, or when no trial can be trained."""

    def __init__(self, agendas: Sequence[Agenda], budget: Budget, relay: "Relay") -> None:
        self.agendas, self.budget, self.relay = agendas, budget, relay

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether all are."""
        spent = sum(agenda.device_seconds for agenda in self.agendas)
        return self.relay.refused is not None or self.budget.spent(spent) is not None


class Pruned(Stateless, FIFOScheduler):
    """Stops a trial that the study's pruner gives up."""

    def __init__(self, relay: "Relay", *, together: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.relay, self.together = relay, together

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Take an epoch; return whether the trial goes on."""
        stopped = "epoch" in result and self.relay.gives_up(trial, result)
        # Several workers see the record and end by themselves.
        return str(
            TrialScheduler.STOP if stopped and not self.together else TrialScheduler.CONTINUE
        )


class Relay(Stateless, Callback):
    """Passes Tune's events on to agendas and callbacks, and records what a trial cannot itself.

    That is: its process was killed, be it by fate or because the trial was given up.
    """

    def __init__(
        self,
        agendas: Sequence[Agenda],
        told: CallbackList,
        cluster: Joining,
        share: Share,
        later: Preloading,
    ) -> None:
        self.agendas = {agenda.name: agenda for agenda in agendas}
        self.told, self.cluster, self.share, self.later = told, cluster, share, later
        self.has_started = False
        self.refused: str | None = None
        """Why no trial of a study can be trained."""
        self.given_up: set[tuple[str, int]] = set()

    def gives_up(self, trial: Any, result: Mapping[str, Any]) -> bool:
        """Takes a trial's epoch; if the trial should be stopped, writes its record."""
        agenda, proposal = self._whose(trial)
        if proposal.number in agenda.records or (agenda.name, proposal.number) in self.given_up:
            return False
        if not agenda.report(proposal.number, _epoch(result)):
            return False
        record = pruned(agenda.context, proposal, result["hostname"], agenda.devices)
        if record is not None:
            self.given_up.add((agenda.name, proposal.number))
            agenda.study.add(record)
        return record is not None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell the cluster, once, and the trial."""
        self._tell_cluster()
        self.told.on_trial_start(trial.config["study"], self._whose(trial)[1])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell an epoch, or how far recordings are read."""
        study, number = trial.config["study"], trial.config["number"]
        if "refused" in result:
            self.refused = result["refused"]
        elif "epoch" in result:
            trial.run_metadata.num_failures = 0
            # No earlier: until then the trial itself is busy importing.
            self.later.begin()
            self.told.on_epoch_end(study, number, _epoch(result))
        elif "clips_read" in result:
            self.told.on_recordings_read(study, number, result["hostname"], result["clips_read"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell that a trial lost its process or machine."""
        host = trial.last_result.get("hostname") or trial.node_ip or "an unknown machine"
        self.told.on_trial_restart(
            trial.config["study"], trial.config["number"], host, _reason(trial)
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Take the record of a trial."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial that Tune does not start again."""
        host = trial.last_result.get("hostname", "")
        agenda, proposal = self._whose(trial)
        agenda.study.add(failed(agenda.context, proposal, host, _reason(trial), agenda.devices))
        self._end(trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tell that time has passed."""
        # A dashboard starts more slowly than all the rest; a trial, though, is not told before.
        if self.cluster.is_whole:
            self._tell_cluster()
        self.told.on_step_end()

    def _tell_cluster(self) -> None:
        if not self.has_started:
            self.has_started = True
            studies = list(self.agendas.values())
            self.told.on_search_start(studies, self.cluster.joined(), self.share)

    def _whose(self, trial: Any) -> tuple[Agenda, Proposal]:
        return self.agendas[trial.config["study"]], Proposal.from_tune(trial.config)

    def _end(self, trial: Any) -> None:
        agenda, proposal = self._whose(trial)
        record = agenda.study.record(proposal.number)
        if record is not None:
            agenda.end(record)
            self.told.on_trial_end(agenda.name, record)


def _epoch(result: Mapping[str, Any]) -> Epoch:
    return Epoch(**{field.name: result[field.name] for field in fields(Epoch)})


def _reason(trial: Any) -> str:
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "its process died"
