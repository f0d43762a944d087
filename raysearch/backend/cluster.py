"""A Ray cluster, joined or started on this machine: its nodes, and calls on each of them.

Ray on this machine alone runs without a log monitor, which copies what processes print, and without
an autoscaler. Its dashboard takes longer to start than all the rest and is not waited for. Its
processes listen on 127.0.0.1, keep their files in a closed folder and ask for a random token, so
that no other user of the machine can run code as this one.
"""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from upath import UPath

from raysearch.backend.access import random_token, token_of
from raysearch.backend.address import answers, local_ray, refusal
from raysearch.backend.environment import START, environment
from raysearch.backend.private_folder import private_folder, temporary_files
from raysearch.backend.ray_internals import (
    on_loopback,
    started_services,
    wait_for_control_service,
    without_unused_services,
)
from raysearch.backend.resources import Cluster, Node, autoscaled_nodes
from raysearch.backend.watch import LOSS_CLUSTER, LOSS_LOCAL, leave, watch_services
from raysearch.errors import UserError, first_line, one_line

if TYPE_CHECKING:
    from raysearch.study.context import StudyContext

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 120.0
"""Seconds after which a machine that has not answered is reported as silent."""


_CONNECTED = ExitStack()
"""Environment and folder of the connection to Ray, of which a process has at most one."""
_WATCH = ExitStack()
"""Watch over the services of the connection."""


def connect(
    address: str,
    *,
    dashboard: bool = True,
    insecure: bool = False,
    on_loss: Callable[[str], None] = leave,
) -> tuple[Cluster, "Future[str]"]:
    """Join a Ray cluster, or start one on this machine if there is no address.

    Args:
        address: of the cluster; empty for none.
        dashboard: start Ray's dashboard with Ray on this machine.
        insecure: start Ray on this machine without a token.
        on_loss: called with the address of a service of Ray that does not answer any more.

    Returns:
        The cluster, and the address of its dashboard as HOST:PORT once the dashboard has started;
        empty without a dashboard.

    Raises:
        UserError: there is no cluster at this address, or it refuses the connection.
    """
    # From the start on: Ray waits a minute for a service that is lost meanwhile.
    patience = LOSS_CLUSTER if address else LOSS_LOCAL
    _WATCH.enter_context(watch_services(started_services, patience, on_loss))
    url = _join(address) if address else _start(dashboard, insecure)
    restore_sigterm()
    return Cluster(address, "", _nodes(address)), url


def restore_sigterm() -> None:
    """Replace Ray's handler of SIGTERM by Python's, if this is the main thread.

    Python sets handlers in the main thread only, and a search connects in another thread.
    Ray's handler prints a stack, and aborts a process that has not ended 3 s later.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def disconnect() -> None:
    """Leave a joined cluster, or stop Ray on this machine."""
    _WATCH.close()
    try:
        ray.shutdown()
    finally:
        _CONNECTED.close()


@contextmanager
def cluster(address: str = "") -> Iterator[Cluster]:
    """Join a Ray cluster, or start one on this machine, while the block runs.

    Raises:
        UserError: as `connect`.
    """
    try:
        joined, url = connect(address)
        yield with_dashboard(joined, url.result())
    finally:
        disconnect()


def with_dashboard(joined: Cluster, url: str) -> Cluster:
    """Return the cluster with the address of its dashboard; `url` is HOST:PORT, or empty."""
    return replace(joined, dashboard=f"http://{url}" if url else "")


def _start(dashboard: bool, insecure: bool) -> "Future[str]":
    # The dashboard starts later and needs the variables as well.
    _CONNECTED.enter_context(random_token(insecure=insecure))
    folder = _CONNECTED.enter_context(private_folder())
    _CONNECTED.enter_context(temporary_files(folder))
    try:
        return _start_ray(folder / "ray", dashboard=dashboard)
    except Exception as error:
        raise UserError(
            f"Ray did not start on this machine ({first_line(error)}); try again when it is less "
            "busy, or look at it with `raysearch doctor`"
        ) from error


def _start_ray(folder: Path, *, dashboard: bool) -> "Future[str]":
    address = Future[str]()
    services = without_unused_services(address if dashboard else None)
    with environment(START), on_loopback(), wait_for_control_service(answers), services:
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(folder),
        )
    if not address.running() and not address.done():
        address.set_result(context.dashboard_url or "")
    return address


def _join(address: str) -> "Future[str]":
    if address == "auto":  # Ray itself would believe a note that every user can write.
        address = local_ray()
    _CONNECTED.enter_context(token_of(address))
    try:
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        raise refusal(address, first_line(error)) from error
    url = Future[str]()
    url.set_result(context.dashboard_url or "")
    return url


def _nodes(address: str) -> tuple[Node, ...]:
    alive = tuple(
        Node(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in _alive()
    )
    # `ray up` leaves the cluster file, as it filled it in, on the head.
    bootstrap = Path.home() / "ray_bootstrap_config.yaml"
    if not address or not bootstrap.is_file():
        return alive
    largest = tuple(autoscaled_nodes(yaml.safe_load(bootstrap.read_text())))
    return max(
        alive, largest, key=lambda nodes: (sum(n.gpus for n in nodes), sum(n.cpus for n in nodes))
    )


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def on_each_node(
    function: Callable[P, T], *arguments: P.args, **options: P.kwargs
) -> dict[str, T | None]:
    """Call a function once on every machine of the joined cluster, at the same time.

    Args:
        function: is pickled by reference, so every machine must be able to import it.
        arguments: of the function.
        options: keyword arguments of the function.

    Returns:
        Host name (with its address if two hosts share a name) -> result, None without an answer.
    """
    nodes = _alive()
    names = [node["NodeManagerHostname"] for node in nodes]
    remote = ray.remote(num_cpus=0)(function)
    calls = {}
    for node, name in zip(nodes, names, strict=True):
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        host = name if names.count(name) == 1 else f"{name} ({node['NodeManagerAddress']})"
        calls[host] = remote.options(scheduling_strategy=strategy).remote(*arguments, **options)
    ray.wait(list(calls.values()), num_returns=len(calls), timeout=PATIENCE)
    return {name: _result(call) for name, call in calls.items()}


def _result(call: "ray.ObjectRef[T]") -> T | None:
    try:
        return ray.get(call, timeout=0.1)
    except Exception:
        return None


def check_access(context: "StudyContext") -> None:
    """Check that every machine of the joined cluster reaches the inputs of a study.

    Raises:
        UserError: a machine does not reach the study, the recordings or the weights.
    """
    for host, problem in on_each_node(find_missing_input, context).items():
        # Nodes that do not answer are ignored: they may have just died.
        if problem:
            raise UserError(
                f"{host} does not reach {problem}, which is on {socket.gethostname()}: all "
                "machines need it in one place, such as a shared folder or s3://..."
            )


def find_missing_input(context: "StudyContext") -> str:
    """Return the first path that this machine does not reach, with its option; else ""."""
    inputs = [("--out", context.folder / "study.json"), ("--data", context.source.root)]
    weights = {options.pretrained for options in context.space.trial_options()}
    inputs += [("pretrained:", UPath(path)) for path in weights if isinstance(path, str)]
    for name, path in inputs:
        try:
            exists = path.exists()
        except Exception as error:  # Each object store has exceptions of its own.
            return f"{name} {path} ({one_line(error)[:200]})"
        if not exists:
            return f"{name} {path}"
    return ""
