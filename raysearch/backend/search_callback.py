"""Callbacks of a search, which receive its events while it runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from raysearch.backend.resources import Cluster, Share
from raysearch.errors import describe
from raysearch.search.budget import Budget
from raysearch.study.records import Proposal, Record
from raysearch.training.outcome import Epoch


class StudyProgress(Protocol):
    """Progress of a study at any moment; a `TrialQueue` has it."""

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
    """Receiver of the events of a search; override those that matter.

    Events of several studies come mixed; `study` is the name of a study. All events come from one
    thread, and the search waits for each call. A callback that raises does not end the search: its
    first exception becomes a warning.
    """

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Receive the start of a search, before its cluster is ready.

        Args:
            studies: that are searched; they change during the search.
            budget: of all studies together.
        """

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        """Receive the cluster, at the latest with the first trial.

        Args:
            cluster: that runs the trials.
            share: of the cluster that a trial holds.
        """

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Receive the start of a trial, or its restart after its process was lost."""

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Receive the number of clips that a trial's machine has decoded so far."""

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Receive an epoch of a trial."""

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Receive the loss of a trial's process or machine; the trial resumes."""

    def on_trial_end(self, study: str, record: Record) -> None:
        """Receive the record of a trial."""

    def on_warning(self, text: str) -> None:
        """Receive a problem that does not end the search."""

    def on_step_end(self) -> None:
        """Receive the end of a step of the search, several times a second."""

    def on_search_end(self) -> None:
        """Receive the end of a search, also if the search was interrupted or raised."""


class CallbackList(SearchCallback):
    """Forwarder of each event to several callbacks."""

    def __init__(self, callbacks: Sequence[SearchCallback]) -> None:
        """Take the callbacks, in the order in which they receive each event."""
        self.callbacks = tuple(callbacks)
        self.failed: set[SearchCallback] = set()
        """Callbacks that have raised: only the first exception of each is reported."""

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Forward the start of a search."""
        self._call(lambda callback: callback.on_search_start(studies, budget))

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        """Forward the cluster."""
        self._call(lambda callback: callback.on_cluster_ready(cluster, share))

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Forward the start of a trial."""
        self._call(lambda callback: callback.on_trial_start(study, proposal))

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Forward the number of decoded clips."""
        self._call(lambda callback: callback.on_recordings_read(study, number, host, clips))

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Forward an epoch."""
        self._call(lambda callback: callback.on_epoch_end(study, number, epoch))

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Forward a restart."""
        self._call(lambda callback: callback.on_trial_restart(study, number, host, reason))

    def on_trial_end(self, study: str, record: Record) -> None:
        """Forward a record."""
        self._call(lambda callback: callback.on_trial_end(study, record))

    def on_warning(self, text: str) -> None:
        """Forward a warning."""
        self._call(lambda callback: callback.on_warning(text))

    def on_step_end(self) -> None:
        """Forward the end of a step."""
        self._call(lambda callback: callback.on_step_end())

    def on_search_end(self) -> None:
        """Forward the end of a search."""
        self._call(lambda callback: callback.on_search_end())

    def _call(self, event: Callable[[SearchCallback], None]) -> None:
        for callback in self.callbacks:
            try:
                event(callback)
            except Exception as error:
                self._report_failure(callback, error)

    def _report_failure(self, callback: SearchCallback, error: Exception) -> None:
        if callback in self.failed:
            return
        self.failed.add(callback)
        self.on_warning(
            f"{type(callback).__name__} failed ({describe(error)}); the search continues"
        )
