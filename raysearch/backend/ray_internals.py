"""Private parts of Ray, used where Ray has no setting.

Tested with Ray 2.60.0. If a part is missing, Ray behaves as by default.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_DASHBOARD

UNUSED = ("start_monitor", "start_log_monitor")
DASHBOARD = "start_api_server"


@contextmanager
def without_callback_count() -> Iterator[None]:
    """Stop Tune from counting callbacks for Ray's usage report.

    The count imports MLflow and similar libraries, which delays the first trial by seconds. Ray has
    no setting for it, even if the report is switched off.
    """
    from ray.air._internal import usage

    count = getattr(usage, "tag_callbacks", None)
    if count is None:
        yield
        return
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = count


@contextmanager
def without_unused_services(address: "Future[str] | None") -> Iterator[None]:
    """Replace methods of Ray's node, so that it starts no service that a search does not need.

    Args:
        address: receives the address of the dashboard, which starts in a thread; None for no
            dashboard.
    """
    originals = {name: getattr(Node, name) for name in (*UNUSED, DASHBOARD) if hasattr(Node, name)}

    def nothing(node: Any, **_: Any) -> None:
        pass

    def dashboard(node: Any, **settings: Any) -> None:
        node._webui_url = ""
        if address is not None and address.set_running_or_notify_cancel():
            start = originals[DASHBOARD]
            Thread(target=_start, args=(start, node, settings, address), daemon=True).start()

    replaced: dict[str, Any] = {**dict.fromkeys(UNUSED, nothing), DASHBOARD: dashboard}
    try:
        for name in originals:
            setattr(Node, name, replaced[name])
        yield
    finally:
        for name, method in originals.items():
            setattr(Node, name, method)


def _start(
    start: Callable[..., None], node: Any, settings: dict[str, Any], address: "Future[str]"
) -> None:
    # A search does not need the dashboard.
    with suppress(Exception):
        start(node, **settings)
    address.set_result(str(node.webui_url or ""))
    # The kernel kills a process of Ray as soon as the thread ends that started it.
    for started in node.all_processes.get(PROCESS_TYPE_DASHBOARD, ()):
        started.process.wait()
