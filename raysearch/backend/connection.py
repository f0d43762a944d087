"""Ray, joined or started by a thread of its own while the driver of a search does other things.

Ray takes seconds to start, in which recordings are read.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from raysearch.backend.resources import Cluster, Resources, allocate


class RayConnection:
    """A Ray cluster that is on its way from `begin` on."""

    def __init__(self, address: str, resources: Resources, *, dashboard: bool = True) -> None:
        """Prepare; nothing is started yet.

        Args:
            address: of the Ray cluster to join; empty starts one on this machine.
            resources: of a trial.
            dashboard: whether a Ray that is started here has its dashboard.
        """
        self.address, self.resources, self.dashboard = address, resources, dashboard
        self._connecting: Future[tuple[Cluster, Future[str]]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray-connection")

    @property
    def is_started(self) -> bool:
        """Whether Ray was asked for."""
        return self._connecting is not None

    def start(self) -> None:
        """Begin to join or start Ray; returns at once."""
        if self._connecting is None:
            # Here, not in the thread: what two threads import at the same time may be torn.
            from raysearch.backend.cluster import connect

            self._connecting = self._thread.submit(connect, self.address, dashboard=self.dashboard)

    def check(self) -> None:
        """Wait for the cluster, and look whether it can run a trial.

        Raises:
            UserError: it cannot, or it cannot be joined.
        """
        joined, _ = self._wait()
        if self.resources.gpus != "auto":
            allocate(self.resources, joined.nodes, joined.where)

    def cluster(self) -> Cluster:
        """Wait for the cluster, which knows its dashboard if that has started, too.

        Raises:
            UserError: the cluster cannot be joined.
        """
        from raysearch.backend.cluster import with_dashboard

        joined, url = self._wait()
        return with_dashboard(joined, url.result()) if url.done() else joined

    @property
    def is_complete(self) -> bool:
        """Whether the cluster's dashboard has started, or there is none."""
        return self._wait()[1].done()

    def _wait(self) -> tuple[Cluster, "Future[str]"]:
        self.start()
        assert self._connecting is not None
        return self._connecting.result()

    def close(self) -> None:
        """Leave the cluster, or end the one that was started."""
        try:
            if self.is_started:
                from raysearch.backend.cluster import disconnect

                with suppress(Exception):  # Raised by `check` or `joined` already.
                    self._wait()
                disconnect()
        finally:
            # Last: the kernel kills Ray's processes as soon as the thread ends that started them.
            self._thread.shutdown()


@contextmanager
def connect_to_ray(
    address: str, resources: Resources, *, dashboard: bool = True
) -> Iterator[RayConnection]:
    """Hold a `RayConnection` of these arguments, which ends with the block."""
    found = RayConnection(address, resources, dashboard=dashboard)
    try:
        yield found
    finally:
        found.close()
