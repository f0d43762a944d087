"""Tunnel from this machine to a cluster, by Ray's commands, which know its hosts and keys.

`ray dashboard` forwards a port to the head over ssh; `ray rsync-down` copies from it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from raysearch.errors import UserError, one_line
from raysearch.remote.cluster_file import ClusterFile
from raysearch.remote.listener import check_listener

PATIENCE = 60.0
"""Seconds to wait for the answer of a tunnel."""
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d |Warning: |Attempting to |Shared connection |rsync error: |sent \d|total size"
)


class UnreachableError(UserError):
    """Error of a cluster that did not answer; a later attempt may succeed."""


@contextmanager
def tunnel(cluster: ClusterFile, patience: float = PATIENCE) -> Iterator[str]:
    """Open a tunnel to the dashboard of a cluster, which listens on its head's loopback only.

    Args:
        cluster: that is up.
        patience: seconds to wait for an answer.

    Yields:
        Address of the tunnel on this machine, `http://127.0.0.1:PORT`.

    Raises:
        UnreachableError: ssh was refused, or the dashboard did not answer.
        UserError: the cluster is not up.
    """
    port = _free_port()
    arguments = ["--port", str(port), "--remote-port", str(cluster.port)]
    with tempfile.TemporaryFile("w+") as output:
        process = _start("dashboard", [str(cluster.path), *arguments], output)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address, output, cluster, patience)
            yield address
        finally:
            _end(process)


def copy_from_head(cluster: ClusterFile, file: Path, source: str, target: Path) -> None:
    """Copy a folder of a cluster's head to this machine.

    Args:
        cluster: that is up.
        file: the cluster file to use, the original or a changed copy.
        source: folder on the head.
        target: folder on this machine, which exists.

    Raises:
        UserError: the cluster is not up or does not have the folder.
    """
    arguments = [str(file), f"{source.rstrip('/')}/", f"{target}/"]
    with tempfile.TemporaryFile("w+") as output:
        process = _start("rsync-down", arguments, output)
        try:
            code = process.wait()
        finally:
            _end(process)
        if code == 0:
            return
        text = _read(output)
        if "No such file or directory" in text and "change_dir" in text:
            raise UserError(f"the head of cluster {cluster.name} has no folder {source}")
        raise _reason(text, cluster)


def _start(command: str, arguments: Sequence[str], output: IO[str]) -> subprocess.Popen[str]:
    # In a separate session: Ctrl-C ends the raysearch command, which ends the tunnel, and ssh
    # cannot prompt for passwords.
    return subprocess.Popen(
        [Path(sys.executable).with_name("ray"), command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    # ssh is a child of `ray` and would outlive it, so the signal goes to both. The connection
    # that ssh shares with other commands for the same cluster ends by itself after 10 s.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def _wait(
    process: subprocess.Popen[str],
    address: str,
    output: IO[str],
    cluster: ClusterFile,
    patience: float,
) -> None:
    end = time.monotonic() + patience
    while not _is_open(address, cluster):
        if process.poll() is not None:
            raise _reason(_read(output), cluster)
        if time.monotonic() > end:
            raise UnreachableError(
                f"cluster {cluster.name}: its dashboard does not answer (port {cluster.port} of "
                f"its head); `ray up {cluster.path}` starts Ray again"
            )
        time.sleep(0.1)


def _is_open(address: str, cluster: ClusterFile) -> bool:
    # The port was free before ssh took it: another user may have been faster.
    try:
        return check_listener(int(address.rpartition(":")[2])) and _answers(address)
    except PermissionError as error:
        raise UnreachableError(f"cluster {cluster.name}: {error}; try again") from error


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=5).close()  # nosec B310
    except urllib.error.HTTPError as error:
        error.close()
        return error.code != 502
    except OSError:
        return False
    return True


def _reason(text: str, cluster: ClusterFile) -> UserError:
    """Return the error in Ray's output, in one line."""
    if "Head node of cluster" in text:
        return UserError(
            f"cluster {cluster.name} is not up, or was brought up from another machine; "
            f"start it with `ray up {cluster.path}`"
        )
    before, _, after = text.partition("Error: ")
    lines = [line.strip() for line in before.splitlines() if line.strip()]
    messages = [line for line in lines if not _NOISE.match(line)]
    if messages:
        return UnreachableError(
            f"cluster {cluster.name}: ssh failed: {messages[-1]} (`ray up {cluster.path}` brings "
            "the cluster up; see `auth` of that file)"
        )
    exception = after.partition("The exception is:")[2] or after
    problem = one_line(exception)[:300] or "no reason given"
    return UserError(f"--cluster {cluster.path}: Ray cannot use it: {problem}")


def _read(output: IO[str]) -> str:
    output.seek(0)
    # Ray colours its output even if it is no terminal.
    return re.sub(r"\x1b\[[0-9;]*m", "", output.read())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
