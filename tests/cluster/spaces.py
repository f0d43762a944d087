"""Processes in Linux namespaces of their own, and a network that joins them.

Each dies with the process that started it, even if that is killed, and its network with it.
"""

import ipaddress
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.packages import lacking

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("ip", "nsenter", "rsync", "setpriv", "ss", "ssh", "ssh-keygen", "sshd", "unshare")
NETWORKS = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses set aside for tests of network devices (RFC 2544), which no network uses."""

BITS = 29
"""Of the prefix of one switch's network, which holds six addresses."""


def missing() -> str:
    """Name what this machine lacks for hosts of its own; empty if nothing."""
    if os.geteuid() != 0:
        return "root"
    if programs := lacking(PROGRAMS):
        return programs
    spaces = ("unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc")
    link = ("ip", "link", "add", "probe", "type")
    for command in ((*spaces, *link, "veth"), ("unshare", "--net", *link, "bridge")):
        if reason := run(*command, check=False).stderr.strip():
            return f"the right to make namespaces and networks ({reason})"
    return ""


@dataclass(frozen=True)
class Spaces:
    """A switch, and namespaces that are plugged in. This machine is plugged in as well.

    Attributes:
        network: of the switch; the first address is this machine's.
        switch: id of the process that holds the switch.
    """

    network: ipaddress.IPv4Network
    switch: int
    _started: list[subprocess.Popen[bytes]] = field(repr=False)

    def start(self, name: str, address: str, spaces: Sequence[str], command: Sequence[str]) -> int:
        """Starts a process with an address of its own.

        Args:
            name: of its port on the switch.
            address: in the network.
            spaces: flags of unshare besides the network's.
            command: of the process.

        Returns:
            Its id, as seen from here.
        """
        pid = _begin(self._started, ("--net", *spaces), command)
        _plug(self.switch, name, "eth0", pid)
        inside = ("nsenter", f"--target={pid}", "--net", "ip")
        run(*inside, "address", "add", f"{address}/{BITS}", "dev", "eth0")
        for link in ("lo", "eth0"):
            run(*inside, "link", "set", link, "up")
        return pid


@contextmanager
def open_spaces() -> Iterator[Spaces]:
    """Starts a switch, and ends it and everything on it."""
    started: list[subprocess.Popen[bytes]] = []
    interface = f"rs{os.getpid()}"
    try:
        switch = _begin(started, ("--net",), ("sleep", "infinity"))
        inside = ("nsenter", f"--target={switch}", "--net", "ip", "link")
        run(*inside, "add", "switch", "type", "bridge")
        run(*inside, "set", "switch", "up")
        network = _free_network()
        _plug(switch, "outside", interface, os.getpid())
        run("ip", "address", "add", f"{next(network.hosts())}/{BITS}", "dev", interface)
        run("ip", "link", "set", interface, "up")
        yield Spaces(network, switch, started)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
        until(
            lambda: not Path("/sys/class/net", interface).exists(),
            "the switch outlived its process",
        )


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end.

    Raises:
        AssertionError: it failed, and `check` is set.
    """
    environment = {**os.environ, "PATH": f"{PATH}:{os.environ.get('PATH', '')}"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if check and ended.returncode:
        raise AssertionError(f"{shlex.join(command)}:\n{ended.stdout}{ended.stderr}")
    return ended


def until(condition: Callable[[], bool], otherwise: str, patience: float = 30) -> None:
    """Waits for something.

    Raises:
        AssertionError: it did not happen in `patience` seconds.
    """
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def _free_network() -> ipaddress.IPv4Network:
    """A network that no other run on this machine has."""
    taken = [
        ipaddress.IPv4Address(info["local"])
        for link in json.loads(run("ip", "-json", "-4", "address").stdout)
        for info in link.get("addr_info", [])
    ]
    networks = list(NETWORKS.subnets(new_prefix=BITS))
    first = os.getpid() % len(networks)
    for network in (*networks[first:], *networks[:first]):
        if not any(address in network for address in taken):
            return network
    raise AssertionError(f"{NETWORKS} is full")


def _plug(switch: int, port: str, name: str, into: int) -> None:
    """Joins the network of a process to the switch."""
    ends = ("add", name, "netns", str(into), "type", "veth", "peer", "name", port, "netns")
    run("ip", "link", *ends, str(switch))
    inside = ("nsenter", f"--target={switch}", "--net", "ip", "link", "set", port)
    run(*inside, "master", "switch", "up")


def _begin(
    started: list[subprocess.Popen[bytes]], spaces: Sequence[str], command: Sequence[str]
) -> int:
    """Starts a process in namespaces of its own; it dies with this one."""
    bound = ("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child")
    process = subprocess.Popen([*bound, *spaces, *command], env={"PATH": PATH}, cwd="/")
    started.append(process)
    until(lambda: _child(process.pid) > 0, f"{command[0]} did not start")
    return _child(process.pid)


def _child(parent: int) -> int:
    """The child of unshare once it is what it should be, thus in its namespaces; else 0."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() == "unshare":
        return 0
    return int(children[0])
