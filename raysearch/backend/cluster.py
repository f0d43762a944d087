"""RayConnection a Ray cluster, or starting one on this machine, and what it holds."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch.backend.address import refusal
from raysearch.backend.local_ray import start_ray
from raysearch.backend.resources import Cluster, Node, growth
from raysearch.errors import UserError, brief

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 120.0
"""Seconds after which a machine counts as silent."""


def connect(address: str, *, dashboard: bool = True) -> tuple[Cluster, "Future[str]"]:
    """Join a Ray cluster, or start one on this machine if there is no address.

    Args:
        address: of the cluster; empty for none.
        dashboard: whether one that is started has Ray's dashboard.

    Returns:
        The cluster, and the address of its dashboard as HOST:PORT, once that has started; empty if
        there is none.

    Raises:
        UserError: there is no cluster at this address, or it refuses us.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    url = _join(address) if address else _start(dashboard)
    if threading.current_thread() is threading.main_thread():
        # Ray would exit without a word.
        signal.signal(signal.SIGTERM, on_sigterm)
    return Cluster(address, "", _nodes(address)), url


def disconnect() -> None:
    """Leave the cluster that was joined, or end the one that was started."""
    ray.shutdown()


@contextmanager
def cluster(address: str = "") -> Iterator[Cluster]:
    """Join a Ray cluster, or start one on this machine, for as long as the block lasts.

    Raises:
        UserError: as `connect`.
    """
    try:
        joined, url = connect(address)
        yield with_dashboard(joined, url.result())
    finally:
        disconnect()


def with_dashboard(joined: Cluster, url: str) -> Cluster:
    """Return a cluster that knows the address of its dashboard; `url` is HOST:PORT, or empty."""
    return replace(joined, dashboard=f"http://{url}" if url else "")


def _start(dashboard: bool) -> "Future[str]":
    try:
        return start_ray(dashboard=dashboard)
    except Exception as error:
        raise UserError(
            f"Ray did not start on this machine ({brief(error)}); try again when it is less busy, "
            "or look at it with `raysearch doctor`"
        ) from error


def _join(address: str) -> "Future[str]":
    try:
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        raise refusal(address, brief(error)) from error
    url = Future[str]()
    url.set_result(context.dashboard_url or "")
    return url


def _nodes(address: str) -> tuple[Node, ...]:
    have = tuple(
        Node(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in _alive()
    )
    # `ray up` leaves the cluster file, as it filled it in, on the head.
    bootstrap = Path.home() / "ray_bootstrap_config.yaml"
    if not address or not bootstrap.is_file():
        return have
    grown = tuple(growth(yaml.safe_load(bootstrap.read_text())))
    return max(
        have, grown, key=lambda nodes: (sum(n.gpus for n in nodes), sum(n.cpus for n in nodes))
    )


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def on_each_node(
    function: Callable[P, T], *arguments: P.args, **options: P.kwargs
) -> dict[str, T | None]:
    """Calls a function once on every machine of the joined cluster, at the same time.

    Args:
        function: is pickled, so it must be importable there.
        arguments: of the function.
        options: of the function, too.

    Returns:
        Host name (with its address, where two have one name) -> result, None if it was silent.
    """
    nodes = _alive()
    names = [node["NodeManagerHostname"] for node in nodes]
    remote = ray.remote(num_cpus=0)(function)
    calls = {}
    for node, name in zip(nodes, names, strict=True):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        full = name if names.count(name) == 1 else f"{name} ({node['NodeManagerAddress']})"
        calls[full] = remote.options(scheduling_strategy=there).remote(*arguments, **options)
    ray.wait(list(calls.values()), num_returns=len(calls), timeout=PATIENCE)
    return {name: _result(call) for name, call in calls.items()}


def _result(call: "ray.ObjectRef[T]") -> T | None:
    try:
        return ray.get(call, timeout=0.1)
    except Exception:
        return None
