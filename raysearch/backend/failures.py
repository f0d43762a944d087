"""Attempts of trials that failed on machines, from the failing process to the driver.

Imported by both, so it imports neither torch nor Ray Train.
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import ray

from raysearch.backend.resources import Share
from raysearch.errors import describe
from raysearch.search.retries import Failure

NODE_LABEL = "ray.io/node-id"
"""Label that Ray gives each machine."""


MARK = "AttemptError: "
"""Text before the facts of an attempt, in the file to which Tune writes an exception."""


class AttemptError(Exception):
    """An attempt of a trial that failed on a machine.

    Its text has the facts for the driver, which reads no pickle: reason, host and node.
    """

    @classmethod
    def here(cls, error: Exception) -> Self:
        """Make the error of an attempt in this process."""
        host, node = socket.gethostname(), this_node()
        return cls(json.dumps({"reason": describe(error), "host": host, "node": node}))


def this_node() -> str:
    """Return the ID of the machine of this process in its cluster."""
    return str(ray.get_runtime_context().get_node_id())


@contextmanager
def located_failures() -> Iterator[None]:
    """Name machine and reason of a failure in this block, for the driver.

    Raises:
        AttemptError: instead of any other exception.
    """
    try:
        yield
    except AttemptError:
        raise
    except Exception as error:
        raise AttemptError.here(error) from error


def located(report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return a function that reports a result with the machine of this process."""
    node = this_node()
    return lambda result: report({**result, "node": node})


def failure_of(trial: Any) -> Failure:
    """Read from a trial of Tune how its last attempt failed."""
    study, number = trial.config["study"], trial.config["number"]
    last: Mapping[str, Any] = trial.last_result or {}
    host, node = str(last.get("hostname", "")), str(last.get("node", ""))
    if "refused" in last:
        return Failure(study, number, str(last["refused"]), host, node)
    lines = _error_lines(trial)
    if lines and MARK in lines[-1]:
        facts = json.loads(lines[-1].partition(MARK)[2])
        return Failure(study, number, facts["reason"], facts["host"], facts["node"])
    reason = f"its process died: {lines[0]}" if lines else "its process died"
    # An attempt that died before its first result names no machine.
    return Failure(study, number, reason, host or str(trial.node_ip or ""), node)


def _error_lines(trial: Any) -> list[str]:
    """Return the text of the exception of a trial's last attempt; empty if Tune has none."""
    try:
        # On this machine: Tune copies the file to the storage later, which may be what failed.
        text = Path(trial.error_file).read_text("utf-8")
    except (OSError, TypeError, ValueError):
        return []
    _, _, latest = text.rpartition("Failure # ")
    return [line.strip() for line in latest.splitlines()[1:] if line.strip()]


def selector(config: Mapping[str, Any]) -> dict[str, str]:
    """Return Ray's label selector of the machines on which a trial may start; empty for all."""
    avoided = config.get("avoid", ())
    return {NODE_LABEL: f"!in({','.join(avoided)})"} if avoided else {}


def able_nodes(share: Share) -> list[str]:
    """List the IDs of the living machines that could run a worker of a trial."""
    return [
        str(node["NodeID"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= share.cpus
        and node["Resources"].get("GPU", 0) >= share.gpus
    ]
