"""Watch over Ray while a search runs: services that are gone, and machines that do not come.

Ray ends the process a minute after its service was lost, and says nothing where no machine comes.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from raysearch.backend.address import answers
from raysearch.backend.resources import Node, Share

INTERVAL = 2.0
"""Seconds between two checks of Ray's services."""
LOSS_LOCAL, LOSS_CLUSTER = 6.0, 40.0
"""Seconds without an answer after which Ray is lost: on this machine, and on a cluster, whose head
may be restarted. Ray itself ends the process after 60."""
NOTICE = 300.0
"""Seconds without a running trial after which the view says why; then after twice as long, ..."""


@contextmanager
def watch_services(
    addresses: Callable[[], Sequence[str]], patience: float, on_loss: Callable[[str], None]
) -> Iterator[None]:
    """Watch services of Ray in a thread while the block runs.

    Args:
        addresses: returns HOST:PORT of each service that has started.
        patience: seconds without an answer after which a service is lost.
        on_loss: called with the address of a lost service, once, in the thread.
    """
    ended = Event()
    silent: dict[str, float] = {}

    def check() -> None:
        while not ended.wait(INTERVAL):
            for address in addresses():
                silent[address] = 0.0 if answers(address) else silent.get(address, 0.0) + INTERVAL
                if silent[address] >= patience and not ended.is_set():
                    on_loss(address)
                    return

    thread = Thread(target=check, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def leave(address: str, done: str = "before the search") -> None:
    """End this process in one line, since Ray is lost and would end it with lines of its own.

    Args:
        address: of the lost service.
        done: progress of the search.
    """
    print(
        f"raysearch: stopped {done}: Ray's service at {address} does not answer any more; the same "
        "command goes on",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    # All results are on disk at any moment, and in any other way Ray would wait for its services.
    os._exit(1)


class Arrival:
    """The wait for machines that can run a trial."""

    def __init__(
        self,
        nodes: Sequence[Node],
        share: Share,
        able: Callable[[Share], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to wait.

        Args:
            nodes: machines of the cluster, or those that it may grow to.
            share: of the cluster that a trial holds.
            able: returns the IDs of the living machines that could run a trial.
            clock: returns the time in s.
        """
        fits = [node for node in nodes if node.cpus >= share.cpus and node.gpus >= share.gpus]
        self.total, self.share, self.able, self.clock = len(fits), share, able, clock
        self.since, self.due = clock(), NOTICE

    def reset(self) -> None:
        """Start anew: a trial runs, or waits for its next attempt."""
        self.since, self.due = self.clock(), NOTICE

    def notice(self) -> str | None:
        """Return a line if no trial has been running for long; None if it is not due."""
        waited = self.clock() - self.since
        if waited < self.due:
            return None
        self.due = 2 * waited
        up, minutes = len(self.able(self.share)), f"{waited / 60:.0f} min"
        if up >= self.total:
            return (
                f"no trial could start for {minutes}, though all {up} machines are up: others hold "
                "their CPUs or GPUs; see `ray status`"
            )
        return (
            f"{up} of {self.total} machines up since {minutes}; no trial can start. See `ray "
            "status` on the head, and in the account of the cloud the quota for such machines "
            "(often 0 for GPUs) and whether spot machines are to be had"
        )
