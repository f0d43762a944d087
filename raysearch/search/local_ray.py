"""Ray on this machine alone, without the parts that a search does not need.

A log monitor copies what processes print, and an autoscaler adds machines: no search on one machine
looks at either. The dashboard takes longer to start than all the rest, and nothing waits for it, so
it starts beside the rest. Ray has no settings for that: methods of its class `Node` are replaced
while it starts. Tried with Ray 2.60.0; where a method is missing, Ray starts as it does by itself.
"""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

# Set before ray is imported, which reads it then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A process for each trial starts when the trial does, rather than one for each CPU at once.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

import ray
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_DASHBOARD

UNUSED = ("start_monitor", "start_log_monitor")
DASHBOARD = "start_api_server"


def start_ray(*, dashboard: bool) -> "Future[str]":
    """Start Ray on this machine.

    Args:
        dashboard: whether it has one.

    Returns:
        The address of its dashboard as HOST:PORT, once that has started; empty if there is none.
    """
    address = Future[str]()
    with _without_unused(address if dashboard else None):
        # Without a network Ray would probe for an address to call its own.
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )

    if not address.running() and not address.done():
        address.set_result(context.dashboard_url or "")
    return address


@contextmanager
def _without_unused(address: "Future[str] | None") -> Iterator[None]:
    """Replace methods of Ray's node while the block lasts.

    Args:
        address: gets that of the dashboard, which starts in a thread; None for no dashboard.
    """
    kept = {name: getattr(Node, name) for name in (*UNUSED, DASHBOARD) if hasattr(Node, name)}

    def nothing(node: Any, **_: Any) -> None:
        pass

    def dashboard(node: Any, **settings: Any) -> None:
        node._webui_url = ""
        if address is not None and address.set_running_or_notify_cancel():
            start = kept[DASHBOARD]
            Thread(target=_start, args=(start, node, settings, address), daemon=True).start()

    replaced: dict[str, Any] = {**dict.fromkeys(UNUSED, nothing), DASHBOARD: dashboard}
    try:
        for name in kept:
            setattr(Node, name, replaced[name])
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


def _start(
    start: Callable[..., None], node: Any, settings: dict[str, Any], address: "Future[str]"
) -> None:
    # A search goes on without a dashboard.
    with suppress(Exception):
        start(node, **settings)
    address.set_result(str(node.webui_url or ""))
    # The kernel kills a process of Ray as soon as the thread ends that started it.
    for started in node.all_processes.get(PROCESS_TYPE_DASHBOARD, ()):
        started.process.wait()
