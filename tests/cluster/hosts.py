"""Hosts of a small cluster on one machine: each a set of namespaces with an sshd of its own.

A host has its own network, processes, host name, /tmp, /dev/shm, /run and home, and shares
the file system otherwise, so the repository and its virtual environment lie on every host at the
same path.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.spaces import PATH, Spaces, open_spaces, run, until

REPOSITORY = Path(__file__).parents[2]
HOME = Path("/run/home")
"""Home of root inside of each host."""


@dataclass(frozen=True)
class Host:
    """A host of its own, as far as its processes can tell.

    Attributes:
        name: its host name.
        address: its IP address.
        init: id of its first process, as seen from outside.
    """

    name: str
    address: str
    init: int

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, in a shell as somebody who logs in gets it."""
        return run(*self._enter(command), check=check)

    def start(self, command: str, output: Path) -> subprocess.Popen[bytes]:
        """Starts a command at the head of a process group of its own."""
        with output.open("w") as file:
            return subprocess.Popen(
                self._enter(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _enter(self, command: str) -> list[str]:
        where = ("nsenter", f"--target={self.init}", "--net", "--pid", "--mount", "--uts")
        environment = ("env", "--ignore-environment", f"--chdir={HOME}", f"HOME={HOME}")
        shell = ("bash", "-c", f". ~/.bashrc; {command}")
        return [*where, *environment, f"PATH={PATH}", "LC_ALL=C.UTF-8", *shell]

    def processes(self) -> dict[int, str]:
        """Command lines of its processes but the first, by their ids as seen from outside."""
        space = os.readlink(f"/proc/{self.init}/ns/pid")
        command_lines = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) == self.init:
                continue
            try:
                if os.readlink(folder / "ns" / "pid") == space:
                    arguments = (folder / "cmdline").read_text().split("\0")
                    command_lines[int(folder.name)] = shlex.join(filter(None, arguments))
            except OSError:  # It ended meanwhile.
                continue
        return {pid: line for pid, line in command_lines.items() if line}

    def kill(self) -> None:
        """Kills all of its processes at once, its sshd too: it is a lost machine from then on."""
        while processes := self.processes():
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def boot(self) -> None:
        """Brings a lost host back: its sshd answers again, and nothing else runs there."""
        self.run(f"/usr/sbin/sshd -f {HOME}/.ssh/sshd_config")

    def listening(self) -> list[str]:
        """Addresses with ports that its processes listen to, such as `127.0.0.1:8265`."""
        sockets = ("ss", "--listening", "--tcp", "--numeric", "--no-header")
        listed = run("nsenter", f"--target={self.init}", "--net", *sockets)
        return [line.split()[3] for line in listed.stdout.splitlines()]


@dataclass(frozen=True)
class Hosts:
    """Some hosts, and what they need to be reached.

    Attributes:
        key: private key that opens each of them to root.
        shared: folder that all of them and this machine see at the same path, as on an NFS.
    """

    hosts: tuple[Host, ...]
    key: Path
    shared: Path

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def ssh(self, host: Host, *arguments: str) -> list[str]:
        """The command that logs in on a host."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        flags = [word for option in options for word in ("-o", option)]
        return ["ssh", "-i", str(self.key), *flags, *arguments, f"root@{host.address}"]


@contextmanager
def start_hosts(folder: Path, count: int = 3, profile: str = "") -> Iterator[Hosts]:
    """Makes hosts named host1, host2 ... and takes everything away at the end.

    Args:
        folder: empty; takes keys, homes and the shared folder.
        count: of hosts, at most 5.
        profile: what root's .bashrc holds on each of them.
    """
    key, shared = folder / "key", folder / "shared"
    shared.mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    with open_spaces() as spaces:
        addresses = tuple(str(address) for address in spaces.network.hosts())[1 : count + 1]
        plans = [_Plan(folder, number, addresses, profile) for number in range(1, count + 1)]
        yield Hosts(tuple(_host(spaces, plan) for plan in plans), key, shared)


@dataclass(frozen=True)
class _Plan:
    """Plan of a host.

    Attributes:
        folder: of all hosts.
        number: from 1.
        addresses: of all hosts, in their order.
        profile: what root's .bashrc holds.
    """

    folder: Path
    number: int
    addresses: tuple[str, ...]
    profile: str

    @property
    def name(self) -> str:
        """Its host name."""
        return f"host{self.number}"

    @property
    def home(self) -> Path:
        """Folder of its own files."""
        return self.folder / self.name


def _host(spaces: Spaces, plan: _Plan) -> Host:
    _furnish(plan)
    address = plan.addresses[plan.number - 1]
    flags = ("--pid", "--mount", "--uts", "--mount-proc")
    init = spaces.start(plan.name, address, flags, ("bash", "-ec", _init(plan)))
    host = Host(plan.name, address, init)
    until(lambda: any(a.endswith(":22") for a in host.listening()), f"no sshd on {host.name}")
    return host


def _furnish(plan: _Plan) -> None:
    """Writes the files that a host has to itself."""
    ssh, etc = plan.home / "home" / ".ssh", plan.home / "etc"
    for path in (ssh, etc, plan.home / "tmp"):
        path.mkdir(parents=True)
    (plan.home / "tmp").chmod(0o1777)
    (plan.home / "home" / ".bashrc").write_text(f"{plan.profile}\n")
    shutil.copy(plan.folder / "key.pub", ssh / "authorized_keys")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "host_key"))
    settings = {
        "HostKey": HOME / ".ssh" / "host_key",
        "AuthorizedKeysFile": HOME / ".ssh" / "authorized_keys",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "MaxStartups": 100,
    }
    (ssh / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
    names = (f"{address} host{number}\n" for number, address in enumerate(plan.addresses, 1))
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
    others = Path("/etc/passwd").read_text().partition("\n")[2]
    (etc / "passwd").write_text(f"root:x:0:0:root:{HOME}:/bin/bash\n{others}")
    # sshd refuses a root whose password is locked, even with a key.
    (etc / "shadow").write_text("root:*:20000:0:99999:7:::\n")


def _init(plan: _Plan) -> str:
    """Script of a host's first process: it furnishes the host, starts sshd and reaps."""
    folders = {name: shlex.quote(str(plan.home / name)) for name in ("home", "etc", "tmp")}
    shared = (plan.folder / "shared", REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))
    # What lies in this machine's /tmp, which the host's own hides, keeps its place.
    kept = [path for path in shared if path.is_relative_to("/tmp")]
    mounts = [(shlex.quote(str(p)), f"{folders['tmp']}{shlex.quote(str(p)[4:])}") for p in kept]
    files = [f"/etc/{name}" for name in ("hosts", "passwd", "shadow")]
    lines = [
        "mount -t tmpfs tmpfs /dev/shm",
        "mount -t tmpfs tmpfs /run",
        f"mkdir {HOME} /run/sshd",
        f"mount --bind {folders['home']} {HOME}",
        *(f"mount --bind {folders['etc']}{file[4:]} {file}" for file in files),
        *(f"mkdir -p {target} && mount --bind {path} {target}" for path, target in mounts),
        f"mount --rbind {folders['tmp']} /tmp",
        f"hostname {plan.name}",
        f"/usr/sbin/sshd -f {HOME}/.ssh/sshd_config",
        # bash reaps what others left behind, as an init must, while it reads what never comes.
        "exec 3<> <(:)",
        "while true; do read -r -u 3 || true; done",
    ]
    return "\n".join(lines)
