"""Trials of several studies, handed out fairly."""

from collections.abc import Sequence

from raysearch.search.trial_queue import Agenda
from raysearch.study.records import Proposal


class Queue:
    """Serves the study first of which the fewest trials are at work.

    Not more studies are active than trials run at once, so that none is served now and then only;
    those that wait begin where the others, which ended meanwhile, found something.
    """

    def __init__(self, agendas: Sequence[Agenda], concurrent: int) -> None:
        """Takes the studies in the order in which they begin.

        Args:
            agendas: of the studies.
            concurrent: trials at once.
        """
        self.concurrent = concurrent
        # Whoever came to an end in an earlier run is of use to all others.
        self.ended = [agenda for agenda in agendas if agenda.over]
        self.waiting = [agenda for agenda in agendas if not agenda.over]
        self.active: list[Agenda] = []
        self.at_work: dict[str, tuple[str, str]] = {}
        """Name of a trial at work -> its study and the signature of its encoder."""

    def next(self, name: str) -> tuple[str, Proposal] | None:
        """The study and what to start now; None if there is nothing now, or at all (see `over`).

        Args:
            name: of the trial that will do it.
        """
        self._make_room()
        while True:
            for agenda in sorted(self.active, key=lambda a: len(self._busy(a))):
                proposal = agenda.next(self._busy(agenda))
                if proposal is not None:
                    signature = agenda.context.config(proposal).signature()
                    self.at_work[name] = (agenda.name, signature)
                    return agenda.name, proposal
            # Who has nothing to give just now leaves its slots to the next.
            if not self._make_room() and not self._open():
                return None

    def left(self, name: str) -> None:
        """A trial is no longer at work."""
        self.at_work.pop(name, None)

    @property
    def over(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not self.waiting and all(agenda.over for agenda in self.active)

    def _make_room(self) -> bool:
        """Sorts out who is over, and opens as many others; returns whether there were any."""
        for agenda in [agenda for agenda in self.active if agenda.over]:
            self.active.remove(agenda)
            self.ended.append(agenda)
        opened = False
        while len(self.active) < self.concurrent and self._open():
            opened = True
        return opened

    def _open(self) -> bool:
        if not self.waiting:
            return False
        agenda = self.waiting.pop(0)
        agenda.begin(self.ended)
        self.active.append(agenda)
        return True

    def _busy(self, agenda: Agenda) -> list[str]:
        return [encoder for study, encoder in self.at_work.values() if study == agenda.name]
