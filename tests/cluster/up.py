"""A Ray cluster on such hosts, brought up by `ray up` with the project's own file for machines."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import REPOSITORY, Host, Hosts, start_hosts

FILE = REPOSITORY / "clusters" / "local.yaml"
PROGRAMS = Path(sys.executable).parent
PATIENCE = 600
"""Seconds in which a machine joins or is found to be lost."""

PROFILE = """export RAY_OVERRIDE_RESOURCES='{"CPU": 1}'
export RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=100000000"""
"""Makes a host look small to Ray, however large the machine is that all of them share."""


@dataclass(frozen=True)
class RayCluster:
    """A cluster that is up.

    Attributes:
        file: for `ray ...` and `raysearch --cluster` outside of the cluster.
        hosts: the head first.
        environment: of a client outside, which has a home, thus a token, of its own.
    """

    file: Path
    hosts: Hosts
    environment: Mapping[str, str]

    @property
    def head(self) -> Host:
        """The host that Ray was started on."""
        return self.hosts[0]

    @property
    def shared(self) -> Path:
        """The folder that every host and this machine see at the same path."""
        return self.hosts.shared

    @property
    def token(self) -> str:
        """Token with which a client connects."""
        return Path(self.environment["HOME"], ".ray", "auth_token").read_text()

    def ray(self, *arguments: object) -> str:
        """Runs a `ray` command outside of the cluster."""
        return _ray(self.environment, *arguments)

    def alive(self) -> int:
        """Machines that Ray knows and hears of."""
        listed = self.head.run("ray list nodes --filter state=ALIVE --format json")
        return len(yaml.safe_load(listed.stdout))

    def wait_for(self, machines: int) -> None:
        """Waits until so many machines are in the cluster."""
        end = time.monotonic() + PATIENCE
        # To ask Ray takes seconds of CPU, to look at processes does not.
        while self._raylets() != machines or self.alive() != machines:
            assert time.monotonic() < end, f"not {machines} machines:\n{self._log()}"
            time.sleep(0.2)

    def _raylets(self) -> int:
        return sum(
            any("/raylet " in line for line in host.processes().values())
            for host in self.hosts.hosts
        )

    def _log(self) -> str:
        return self.head.run("tail -n 50 /tmp/ray/session_latest/logs/monitor*", check=False).stdout


@contextmanager
def ray_up(folder: Path) -> Iterator[RayCluster]:
    """Makes three hosts and brings a cluster up on them from outside, as a user does.

    Args:
        folder: empty.
    """
    folders = {name: folder / name for name in ("hosts", "laptop", "tmp")}
    for path in folders.values():
        path.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY")},
        "HOME": str(folders["laptop"]),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # `ray up` notes there, outside of the home, what is up.
        "RAY_TMPDIR": str(folders["tmp"]),
        "TMPDIR": str(folders["tmp"]),
    }
    _ray(environment, "get-auth-token", "--generate")
    (folders["laptop"] / ".ray" / "auth_token").chmod(0o600)
    name = f"test{os.getpid()}"
    with start_hosts(folders["hosts"], profile=PROFILE) as hosts, _no_ssh_left(name):
        file = folder / "local.yaml"
        file.write_text(yaml.safe_dump(_adapted(hosts, name)))
        cluster = RayCluster(file, hosts, environment)
        cluster.ray("up", "--yes", "--no-config-cache", file)
        cluster.wait_for(len(hosts.hosts))
        yield cluster


def _adapted(hosts: Hosts, name: str) -> dict[str, Any]:
    """The project's cluster file with the addresses, key and paths of these hosts."""
    text = FILE.read_text()
    # Every host sees this virtual environment, so nothing is installed.
    for path, here in (("/mnt/raysearch", hosts.shared), ("~/.raysearch/venv/bin", PROGRAMS)):
        assert path in text
        text = text.replace(path, str(here))
    content: dict[str, Any] = yaml.safe_load(text)
    install = [line for line in content["setup_commands"] if "venv ~" in line or "/pip " in line]
    assert len(install) == 3, install
    head, *workers = hosts.hosts
    machines = {"head_ip": head.address, "worker_ips": [host.address for host in workers]}
    return {
        **content,
        "cluster_name": name,
        "provider": content["provider"] | machines,
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "setup_commands": [line for line in content["setup_commands"] if line not in install],
    }


def _ray(environment: Mapping[str, str], *arguments: object) -> str:
    command = [str(PROGRAMS / "ray"), *map(str, arguments)]
    # file_mounts of the cluster file begin here.
    ended = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, f"{command}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@contextmanager
def _no_ssh_left(name: str) -> Iterator[None]:
    """Ends the connections that Ray keeps open to the hosts of a cluster for the next command."""
    part = hashlib.sha256(name.encode()).hexdigest()[:10]
    try:
        yield
    finally:
        for folder in Path("/tmp").glob(f"ray_ssh_*/{part}"):
            for pid in _mentioning(str(folder)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(folder)


def _mentioning(text: str) -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text in path.read_text(errors="replace"):
                pids.append(int(path.parent.name))
    return pids
