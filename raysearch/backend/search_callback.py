"""Callbacks of a search: what is told of it while it runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from raysearch.backend.resources import Cluster, Share
from raysearch.errors import named
from raysearch.study.records import Proposal, Record
from raysearch.training.outcome import Epoch


class StudyProgress(Protocol):
    """How far a study is, at any moment; `search.agenda.Agenda` is one."""

    @property
    def name(self) -> str:
        """Name of the study."""

    @property
    def epochs(self) -> int:
        """Epochs of a trial."""

    @property
    def total(self) -> int:
        """Trials that the study will have, as far as is known."""

    @property
    def records(self) -> Mapping[int, Record]:
        """Records of the trials that ended, by number."""

    @property
    def device_seconds(self) -> float:
        """Device seconds that the study cost so far."""


class SearchCallback:
    """Receives the events of a search; override those that matter.

    Events of several studies come mixed; `study` is the name of one. All come from one thread, and
    the search waits for each call.
    """

    def on_search_start(
        self, studies: Sequence[StudyProgress], cluster: Cluster, share: Share
    ) -> None:
        """Receive the start of a search.

        Args:
            studies: that are searched; they change as the search goes on.
            cluster: that runs the trials.
            share: what a trial holds of the cluster.
        """

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Receive the start of a trial, or its restart after its process was lost."""

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Receive how many clips a trial's machine has decoded, the first time it needs them."""

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Receive an epoch of a trial."""

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Receive the loss of a trial's process or machine; the trial resumes."""

    def on_trial_end(self, study: str, record: Record) -> None:
        """Receive the record of a trial."""

    def on_warning(self, text: str) -> None:
        """Receive what went wrong beside the search, which goes on."""

    def on_step_end(self) -> None:
        """Receive that time has passed, several times a second."""


class CallbackList(SearchCallback):
    """Passes each event on to several callbacks; one that raises does not end the search."""

    def __init__(self, callbacks: Sequence[SearchCallback]) -> None:
        """Take the callbacks, in the order in which each event reaches them."""
        self.callbacks = tuple(callbacks)
        self.failed: set[SearchCallback] = set()
        """Callbacks that have raised, which is told once of each."""

    def on_search_start(
        self, studies: Sequence[StudyProgress], cluster: Cluster, share: Share
    ) -> None:
        """Pass the start of a search on."""
        self._pass(lambda callback: callback.on_search_start(studies, cluster, share))

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Pass the start of a trial on."""
        self._pass(lambda callback: callback.on_trial_start(study, proposal))

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Pass on how many clips were decoded."""
        self._pass(lambda callback: callback.on_recordings_read(study, number, host, clips))

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Pass an epoch on."""
        self._pass(lambda callback: callback.on_epoch_end(study, number, epoch))

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Pass a restart on."""
        self._pass(lambda callback: callback.on_trial_restart(study, number, host, reason))

    def on_trial_end(self, study: str, record: Record) -> None:
        """Pass a record on."""
        self._pass(lambda callback: callback.on_trial_end(study, record))

    def on_warning(self, text: str) -> None:
        """Pass a warning on."""
        self._pass(lambda callback: callback.on_warning(text))

    def on_step_end(self) -> None:
        """Pass the time on."""
        self._pass(lambda callback: callback.on_step_end())

    def _pass(self, call: Callable[[SearchCallback], None]) -> None:
        for callback in self.callbacks:
            try:
                call(callback)
            except Exception as error:
                self._tell(callback, error)

    def _tell(self, callback: SearchCallback, error: Exception) -> None:
        if callback in self.failed:
            return
        self.failed.add(callback)
        self.on_warning(f"{type(callback).__name__} failed ({named(error)}); the search goes on")
