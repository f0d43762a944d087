"""A cluster of one host on this machine: a real Ray head behind a real ssh, for the tests.

ssh starts an sshd of its own for each connection, so that no port is listened to and no server is
left; `ray up` brings the cluster "up" with a start command that starts nothing, since the head is
a child of the test, which ends it by its id.
"""

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import descendants, family, title
from tests.packages import PATH, lacking

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """A cluster's head on this machine; `pid` is of the process that started all others."""

    file: Path
    url: str
    address: str
    token: str
    home: Path
    pid: int

    @contextmanager
    def at_a_standstill(self) -> Iterator[None]:
        """Halts the processes of trials, so that they are still running after the block."""
        children = descendants(self.pid)
        trials = [pid for pid in children if title(pid).startswith("ray::ImplicitFunc")]
        assert trials
        for pid in trials:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in trials:
                os.kill(pid, signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_cluster_file(home: Path, port: int = 8265, **changes: Any) -> Path:
    """Writes a cluster file for this machine, the keys and what sshd needs into a folder."""
    home.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "key"):
        if not (home / name).exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
            subprocess.run(command, check=True)
    token = home / "token"
    if not token.exists():
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
    config = home / "sshd_config"
    config.write_text(
        f"HostKey {home}/host_key\nAuthorizedKeysFile {home}/key.pub\nStrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"SetEnv HOME={home}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    content = {
        "cluster_name": f"raysearch-{secrets.token_hex(4)}",
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {
            "ssh_user": getuser(),
            "ssh_private_key": str(home / "key"),
            "ssh_proxy_command": f"{shutil.which('sshd', path=PATH)} -i -f {config}",
        },
        "file_mounts": {"~/.ray/auth_token": str(token)},
        "head_start_ray_commands": [f"RAY_AUTH_MODE=token true --dashboard-port={port}"],
        "worker_start_ray_commands": [],
    }
    path = home / f"{content['cluster_name']}.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


@contextmanager
def brought_up(file: Path) -> Iterator[None]:
    """Brings the cluster of a file up, and ends the connections that are kept open to it."""
    command = [str(BIN / "ray"), "up", "--yes", "--disable-usage-stats", str(file)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        yield
    finally:
        for pid in connections(file):
            os.kill(pid, signal.SIGTERM)
        for folder in Path("/tmp").glob(f"ray_ssh_*/{_mark(file)}"):
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def ssh() -> None:
    """Requirements of a host: skip the test, and say why, where one is missing."""
    if os.geteuid() != 0:
        pytest.skip("a host of its own needs root")
    if programs := lacking(("sshd", "ssh", "rsync")):
        pytest.skip(f"a host of its own needs {programs}")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, ssh: None) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("home")
    write_cluster_file(home)
    with pytest.MonkeyPatch.context() as patch:
        # Where `ray up` notes which clusters it brought up.
        patch.setenv("RAY_TMPDIR", str(home))
        with _ray(home) as (pid, port, gcs):
            file = write_cluster_file(home, port)
            token = (home / "token").read_text()
            with brought_up(file):
                yield Head(file, f"http://127.0.0.1:{port}", f"127.0.0.1:{gcs}", token, home, pid)


@contextmanager
def _ray(home: Path) -> Iterator[tuple[int, int, int]]:
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp") as temporary:
        *_, port = ports = free_ports(7)
        names = ("", "runtime-env-agent-", "metrics-export-", "ray-client-server-")
        flags = [f"--{name}port={port}" for name, port in zip(names, ports, strict=False)]
        flags += [
            f"--dashboard-agent-listen-port={ports[4]}",
            f"--dashboard-agent-grpc-port={ports[5]}",
            f"--dashboard-port={port}",
            "--dashboard-host=127.0.0.1",
            "--node-ip-address=127.0.0.1",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--num-cpus=2",
            "--num-gpus=0",
            "--object-store-memory=100000000",
            f"--temp-dir={temporary}",
            "--disable-usage-stats",
        ]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("RAY_")
        } | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(home / "token"),
            "HOME": str(home),
        }
        with (home / "head.log").open("w") as log:
            process = subprocess.Popen(
                [BIN / "ray", "start", "--head", "--block", *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            _wait(process, port, home / "head.log")
            yield process.pid, port, ports[0]
        finally:
            # At once: asked to end, the processes of a cluster that ran trials wait half a minute.
            with family(process.pid):
                for pid in (process.pid, *descendants(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 300
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            time.sleep(0.1)


def connections(file: Path) -> list[int]:
    """The ssh processes that hold the connection to a cluster, which its tunnels share."""
    pids = []
    for path in Path("/proc").iterdir():
        try:
            command_line = (path / "cmdline").read_bytes() if path.name.isdecimal() else b""
        except OSError:
            continue
        if command_line.startswith(b"ssh: ") and f"/{_mark(file)}/".encode() in command_line:
            pids.append(int(path.name))
    return pids


def _mark(file: Path) -> str:
    """The folder in which Ray has ssh put its sockets for a cluster."""
    name = yaml.safe_load(file.read_text())["cluster_name"]
    return hashlib.sha256(name.encode()).hexdigest()[:10]
