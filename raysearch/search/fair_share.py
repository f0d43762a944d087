"""Trials of several studies, handed out fairly."""

from collections.abc import Sequence

from raysearch.search.trial_queue import TrialQueue
from raysearch.study.records import Proposal


class FairShare:
    """Serves the study first of which the fewest trials are at work.

    Not more studies are active than trials run at once, so that none is served now and then only;
    those that wait begin where the others, which ended meanwhile, found something.
    """

    def __init__(self, queues: Sequence[TrialQueue], concurrent: int) -> None:
        """Takes the studies in the order in which they begin.

        Args:
            queues: of the studies.
            concurrent: trials at once.
        """
        self.concurrent = concurrent
        # Whoever came to an end in an earlier run is of use to all others.
        self.finished = [queue for queue in queues if queue.is_finished]
        self.waiting = [queue for queue in queues if not queue.is_finished]
        self.active: list[TrialQueue] = []
        self.running: dict[str, tuple[str, str]] = {}
        """Name of a trial at work -> its study and the signature of its encoder."""

    def next(self, name: str) -> tuple[str, Proposal] | None:
        """The study and what to start now; None if there is nothing now, or at all (see `over`).

        Args:
            name: of the trial that will do it.
        """
        self._make_room()
        while True:
            for queue in sorted(self.active, key=lambda a: len(self._busy(a))):
                proposal = queue.next(self._busy(queue))
                if proposal is not None:
                    signature = queue.context.config(proposal).signature()
                    self.running[name] = (queue.name, signature)
                    return queue.name, proposal
            # Who has nothing to give just now leaves its slots to the next.
            if not self._make_room() and not self._open():
                return None

    def release(self, name: str) -> None:
        """A trial is no longer at work."""
        self.running.pop(name, None)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not self.waiting and all(queue.is_finished for queue in self.active)

    def _make_room(self) -> bool:
        """Sorts out who is over, and opens as many others; returns whether there were any."""
        for queue in [queue for queue in self.active if queue.is_finished]:
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
        queue.warm_start(self.finished)
        self.active.append(queue)
        return True

    def _busy(self, queue: TrialQueue) -> list[str]:
        return [encoder for study, encoder in self.running.values() if study == queue.name]
