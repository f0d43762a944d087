"""Private parts of Ray, used where Ray has no setting.

Tested with Ray 2.60.0. If a part is missing, Ray behaves as by default.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import grpc
from ray import _raylet
from ray._private import node as node_module
from ray._private import services, worker
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_DASHBOARD
from ray.exceptions import RayActorError, RayError, RayTaskError

UNUSED = ("start_monitor", "start_log_monitor")
DASHBOARD = "start_api_server"
ANSWER = 2.0
"""Seconds in which a service that has started answers."""
_answering: list[str] = []
"""Address of the control service of a Ray that starts."""


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
def lost_processes_fail_alone() -> Iterator[None]:
    """Let Tune take every error of Ray in a trial's process for the end of that process.

    Tune knows the death of an actor. Any other error ends the search, such as that of a process
    which Ray killed because the memory of its machine was used up.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager

    name = "_actor_task_failed"
    handle = getattr(RayActorManager, name, None)
    if handle is None:
        yield
        return

    # Ray names the arguments in its calls.
    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        is_known = isinstance(exception, RayTaskError | RayActorError)
        if isinstance(exception, RayError) and not is_known:
            exception = RayActorError(error_msg=str(exception))
        handle(manager, tracked_actor_task, exception)

    setattr(RayActorManager, name, failed)
    try:
        yield
    finally:
        setattr(RayActorManager, name, handle)


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let all processes of a Ray that starts in this block listen on 127.0.0.1 alone.

    `ray.init` replaces a loopback address of the node by one that other machines reach, and Ray
    then listens on all addresses.
    """
    name = "resolve_ip_for_localhost"
    resolve = getattr(services, name, None)
    if resolve is None:
        yield
        return
    setattr(services, name, lambda host: host)
    try:
        yield
    finally:
        setattr(services, name, resolve)


@contextmanager
def wait_for_control_service(answers: Callable[[str], bool]) -> Iterator[None]:
    """Let a Ray that starts in this block call its control service only once that answers.

    Ray's client of a service that was lost waits for half a minute, and prints lines of its own.

    Args:
        answers: returns True if a service accepts connections at HOST:PORT.
    """
    name = "GcsClient"
    create = getattr(node_module, name, None)
    if create is None:
        yield
        return

    def create_once_it_answers(address: str, **options: Any) -> Any:
        end = time.monotonic() + ANSWER
        while not answers(address):
            # Ray tries again, unless the service has ended.
            if time.monotonic() > end:
                raise ConnectionError(f"no answer at {address}")
            time.sleep(0.02)
        _answering.append(address)
        return create(address=address, **options)

    setattr(node_module, name, create_once_it_answers)
    try:
        yield
    finally:
        setattr(node_module, name, create)
        _answering.clear()


def started_services() -> tuple[str, ...]:
    """Return the addresses, HOST:PORT, of the control service and of this machine's raylet.

    Returns:
        Empty until Ray has started them, or found them in the cluster that it joins; the control
        service alone while Ray still starts others.
    """
    node = getattr(worker, "_global_node", None)
    if node is None:
        return tuple(_answering)
    return node.gcs_address, f"{node.node_ip_address}:{node.node_manager_port}"


def reload_authentication() -> None:
    """Read the environment variables about tokens again, which Ray reads once in a process."""
    with suppress(AttributeError):
        _raylet.Config.initialize("")  # type: ignore[attr-defined]
        loader = _raylet.AuthenticationTokenLoader.instance()  # type: ignore[attr-defined]
        loader.reset_cache()


def is_token_refused(address: str, token: str) -> bool | None:
    """Return True if the cluster at an address refuses a token; "" stands for no token.

    Returns:
        None if there is no answer, for example because the cluster uses TLS.
    """
    headers = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            call(b"", timeout=10, metadata=headers)
        except grpc.RpcError as error:
            return True if error.code() == grpc.StatusCode.UNAUTHENTICATED else None
    return False


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
