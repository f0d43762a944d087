"""Fair scheduling of the trials of several studies."""

from collections.abc import Sequence

from raysearch.search.retries import Retries
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal


class FairShare:
    """A scheduler that serves the study with the fewest running trials first.

    At most as many studies are active as trials run concurrently, so that every active study makes
    progress. A waiting study is warm-started from the studies of its series that are finished by
    then: those of other machine types, not those of other methods or repetitions.
    """

    def __init__(
        self, queues: Sequence[TrialQueue], concurrent: int, retries: Retries | None = None
    ) -> None:
        """Accept the studies in the order in which they start.

        Args:
            queues: of the studies.
            concurrent: number of concurrent trials.
            retries: trials that failed on machines; None for a search without failures.
        """
        self.concurrent, self.retries = concurrent, retries or Retries(concurrent)
        # Studies finished in an earlier run can warm-start the rest.
        self.finished = [queue for queue in queues if queue.is_finished]
        self.waiting = [queue for queue in queues if not queue.is_finished]
        self.active: list[TrialQueue] = []
        self.running: dict[str, tuple[str, str]] = {}
        """Name of a running Tune trial -> study and signature of the encoder."""

    def next(self, name: str) -> tuple[str, Proposal] | None:
        """Return the study and the proposal to start next.

        Args:
            name: of the Tune trial that will run the proposal.

        Returns:
            None if no trial can start now; see `is_finished`.
        """
        self._refill()
        # A trial that waits for its next attempt keeps its slot: otherwise storage that is away
        # would fail one proposal after the other, each drawn without a result.
        pausing = self.retries.pausing
        if pausing and len(self.running) + len(pausing) >= self.concurrent:
            return None
        while True:
            for queue in sorted(self.active, key=lambda queue: len(self._busy(queue))):
                proposal = queue.next(
                    self._busy(queue), {number for study, number in pausing if study == queue.name}
                )
                if proposal is not None:
                    signature = queue.context.config(proposal).signature()
                    self.running[name] = (queue.name, signature)
                    return queue.name, proposal
            # No active study can start a trial now: its slots go to the next study.
            if not self._refill() and not self._open():
                return None

    def release(self, name: str) -> None:
        """Remove a Tune trial from the running ones."""
        self.running.pop(name, None)

    @property
    def is_finished(self) -> bool:
        """True if no trial is left to start or to wait for."""
        return not self.waiting and all(queue.is_over for queue in self.active)

    def _refill(self) -> bool:
        """Replace finished studies by waiting ones; return True if a study was opened."""
        for queue in [queue for queue in self.active if queue.is_over]:
            self.active.remove(queue)
            self.finished.append(queue)
        opened = False
        while len(self.active) < self.concurrent and self._open():
            opened = True
        return opened

    def _open(self) -> bool:
        if not self.waiting:
            return False
        queue = self.waiting.pop(0)
        queue.warm_start([other for other in self.finished if other.series == queue.series])
        self.active.append(queue)
        return True

    def _busy(self, queue: TrialQueue) -> list[str]:
        return [encoder for study, encoder in self.running.values() if study == queue.name]
