"""Joining a Ray cluster, or starting one on this machine, and what it holds."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import yaml

from raysearch.errors import UserError, brief
from raysearch.search.resources import Cluster, Node, growth

# Set before ray is imported, which reads it then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 120.0
"""Seconds after which a machine counts as silent."""


def running_here() -> str:
    """Address of the cluster that `ray start` or `ray up` made this machine a part of, else ""."""
    folder = os.environ.get("RAY_TMPDIR", "/tmp")
    with suppress(OSError):
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        # The file outlives a cluster that was killed.
        if not _silence(address):
            return address
    return ""


def check_address(address: str) -> None:
    """Looks whether somebody answers at a cluster's address, before anything is written.

    Raises:
        UserError: nobody does.
    """
    if address and (reason := _silence(address)):
        raise _refusal(address, reason)


def _silence(address: str) -> str:
    """Why nobody answers at HOST:PORT; empty if somebody does, or if Ray has to find the place."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return ""
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


@contextmanager
def cluster(address: str = "") -> Iterator[Cluster]:
    """Joins a Ray cluster, or starts one on this machine if there is no address.

    Raises:
        UserError: there is no cluster at this address, or it refuses us.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    dashboard = _join(address) if address else _start()
    # Ray would exit without a word.
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield Cluster(address, f"http://{dashboard}" if dashboard else "", _nodes(address))
    finally:
        ray.shutdown()


def _start() -> str | None:
    # Without a network Ray would probe for an address to call its own.
    try:
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:
        raise UserError(
            f"Ray did not start on this machine ({brief(error)}); try again when it is less busy, "
            "or look at it with `raysearch doctor`"
        ) from error
    return context.dashboard_url


def _join(address: str) -> str | None:
    try:
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        raise _refusal(address, brief(error)) from error
    return context.dashboard_url


def _refusal(address: str, reason: str) -> UserError:
    hint = (
        "set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token"
        if "auth" in reason.lower()
        else "see `ray status`, or say --address local to use this machine alone"
    )
    return UserError(f"no Ray cluster can be joined at {address} ({reason}); {hint}")


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
