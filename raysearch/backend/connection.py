"""Connection to Ray, opened in a thread: Ray takes seconds to start, while recordings are read."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from raysearch.backend.resources import Cluster, Resources, allocate


class RayConnection:
    """A Ray cluster that is joined or started in a thread, from `start` on."""

    def __init__(
        self, address: str, resources: Resources, *, dashboard: bool = True, insecure: bool = False
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            address: of the Ray cluster to join; empty starts one on this machine.
            resources: of a trial.
            dashboard: start Ray's dashboard with Ray on this machine.
            insecure: start Ray on this machine without a token.
        """
        self.insecure = insecure
        self.on_loss: Callable[[str], None] | None = None
        """Called with the address of a service of Ray that is lost; None ends the process."""
        self.address, self.resources, self.dashboard = address, resources, dashboard
        self._connecting: Future[tuple[Cluster, Future[str]]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray-connection")

    @property
    def is_started(self) -> bool:
        """True once `start` was called."""
        return self._connecting is not None

    def start(self) -> None:
        """Start to join or start Ray; return at once."""
        if self._connecting is None:
            # Here, not in the thread: two threads that import a module may see it half loaded.
            from raysearch.backend.cluster import connect

            self._connecting = self._thread.submit(
                connect,
                self.address,
                dashboard=self.dashboard,
                insecure=self.insecure,
                on_loss=self._lose,
            )

    def _lose(self, address: str) -> None:
        from raysearch.backend.watch import leave

        (self.on_loss or leave)(address)

    def check(self) -> None:
        """Wait for the cluster, and check that it can run a trial.

        Raises:
            UserError: the cluster cannot be joined or cannot run a trial.
        """
        joined, _ = self._wait()
        if self.resources.gpus != "auto":
            allocate(self.resources, joined.nodes, joined.where)

    def cluster(self) -> Cluster:
        """Wait for the cluster; return it, with its dashboard if that has started.

        Raises:
            UserError: the cluster cannot be joined.
        """
        from raysearch.backend.cluster import restore_sigterm, with_dashboard

        joined, url = self._wait()
        restore_sigterm()
        return with_dashboard(joined, url.result()) if url.done() else joined

    @property
    def is_complete(self) -> bool:
        """True if the cluster's dashboard has started or is switched off."""
        return self._wait()[1].done()

    def _wait(self) -> tuple[Cluster, "Future[str]"]:
        self.start()
        assert self._connecting is not None
        return self._connecting.result()

    def close(self) -> None:
        """Leave a joined cluster, or stop Ray on this machine."""
        try:
            if self.is_started:
                from raysearch.backend.cluster import disconnect

                with suppress(Exception):  # Raised by `check` or `cluster` already.
                    self._wait()
                disconnect()
        finally:
            # Last: the kernel kills Ray's processes as soon as the thread ends that started them.
            self._thread.shutdown()


@contextmanager
def connect_to_ray(
    address: str, resources: Resources, *, dashboard: bool = True, insecure: bool = False
) -> Iterator[RayConnection]:
    """Open a `RayConnection` with these arguments; close it after the block."""
    connection = RayConnection(address, resources, dashboard=dashboard, insecure=insecure)
    try:
        yield connection
    finally:
        connection.close()
