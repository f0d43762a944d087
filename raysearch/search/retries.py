"""Trials that failed on machines: when they start again, and on which machines they do not.

A failure of a machine or of the storage is not the trial's: the trial gets no record and is tried
again after a pause that grows. Independent of Ray.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

ATTEMPTS = 8
"""Attempts in a row without an epoch after which a trial waits for the next command."""
HOST_FAILURES = 3
"""Failures in a row after which a machine is not used."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds between two attempts: the first pause, which doubles, and the longest."""

TrialKey = tuple[str, int]
"""Study and number of a trial."""


@dataclass(frozen=True)
class Failure:
    """A failure of a machine or of the storage, during a trial.

    Attributes:
        study: name of the study.
        number: of the trial.
        reason: one line.
        host: name of the machine, for display; empty if unknown.
        node: ID of the machine in its cluster; empty if unknown.
    """

    study: str
    number: int
    reason: str
    host: str = ""
    node: str = ""

    @property
    def key(self) -> TrialKey:
        """Study and number of the trial."""
        return self.study, self.number


@dataclass
class _Attempts:
    """Failed attempts of a trial since its last epoch."""

    count: int = 0
    due: float = 0.0
    nodes: set[str] = field(default_factory=set)


class Retries:
    """The failures of a search on machines, and what follows from them."""

    def __init__(self, concurrent: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a failure.

        Args:
            concurrent: trials at once.
            clock: returns the time in s.
        """
        self.concurrent, self.clock = concurrent, clock
        self.trials: dict[TrialKey, _Attempts] = {}
        self.nodes: dict[str, int] = {}
        """ID of a machine -> its failures in a row."""
        self.failures: list[Failure] = []
        """Failures in a row over all studies."""

    def fail(self, failure: Failure) -> float | None:
        """Add a failure.

        Returns:
            Seconds until the trial is due again; None if this run does not try it again.
        """
        self.failures.append(failure)
        attempts = self.trials.setdefault(failure.key, _Attempts())
        attempts.count += 1
        if failure.node:
            attempts.nodes.add(failure.node)
            self.nodes[failure.node] = self.nodes.get(failure.node, 0) + 1
        if attempts.count >= ATTEMPTS:
            del self.trials[failure.key]
            return None
        pause = min(FIRST_PAUSE * 2 ** (attempts.count - 1), LONGEST_PAUSE)
        attempts.due = self.clock() + pause
        return float(pause)

    def succeed(self, study: str, number: int, node: str) -> None:
        """Clear the failures of a trial and of its machine, since the trial finished an epoch."""
        self.failures.clear()
        self.trials.pop((study, number), None)
        self.nodes.pop(node, None)

    @property
    def pausing(self) -> frozenset[TrialKey]:
        """Trials that wait for their next attempt; each keeps its slot."""
        now = self.clock()
        return frozenset(key for key, attempts in self.trials.items() if now < attempts.due)

    def avoid(self, study: str, number: int, able: Collection[str]) -> tuple[str, ...]:
        """Return the machines on which a trial is not to start, as far as others are left.

        Args:
            study: name of the study.
            number: of the trial.
            able: IDs of the machines on which a trial could start.
        """
        attempts = self.trials.get((study, number), _Attempts())
        unfit = {node for node, count in self.nodes.items() if count >= HOST_FAILURES}
        for avoided in (unfit | attempts.nodes, unfit):
            if avoided and set(able) - avoided:
                return tuple(sorted(avoided))
        return ()

    @property
    def is_hopeless(self) -> bool:
        """True if every trial at once failed as often as it is tried, without an epoch between."""
        return len(self.failures) >= ATTEMPTS * self.concurrent
