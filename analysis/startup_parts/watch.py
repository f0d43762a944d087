"""Processes of a command until a file appears: their CPU times and start times."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAUSE = 0.02
"""Seconds between two readings of the processes."""

PATIENCE = 300.0
"""Seconds after which a command counts as hanging."""

KINDS = (
    ("gcs_server", "Ray: GCS"),
    ("raylet", "Ray: raylet"),
    ("DashboardAgent", "Ray: dashboard agent"),
    ("RuntimeEnvAgent", "Ray: runtime env agent"),
    ("runtime_env/agent", "Ray: runtime env agent"),
    ("dashboard/agent", "Ray: dashboard agent"),
    ("log_monitor", "Ray: log monitor"),
    ("monitor.py", "Ray: autoscaler"),
    ("dashboard", "Ray: dashboard"),
    ("ray::IDLE", "Ray: idle workers"),
    ("default_worker", "trial processes"),
    ("ray::", "trial processes"),
)
"""Part of a command line -> kind of the process; the first match counts."""


@dataclass(frozen=True)
class Seen:
    """A process at its last reading; times in s, `begun` since the start of the command."""

    title: str
    cpu: float
    begun: float


@dataclass(frozen=True)
class Part:
    """Processes of one kind."""

    kind: str
    processes: int
    cpu: float
    begun: float


def kind_of(title: str, *, is_first: bool) -> str:
    """Return the kind of a process from its command line."""
    if is_first:
        return "driver"
    return next((name for part, name in KINDS if part in title), "others")


def parts_of(seen: Mapping[int, Seen], first: int) -> list[Part]:
    """Sum the processes of each kind, the highest CPU time first."""
    kinds: dict[str, list[Seen]] = {}
    for pid, process in seen.items():
        kinds.setdefault(kind_of(process.title, is_first=pid == first), []).append(process)
    parts = [
        Part(kind, len(group), sum(p.cpu for p in group), min(p.begun for p in group))
        for kind, group in kinds.items()
    ]
    return sorted(parts, key=lambda part: -part.cpu)


def watch(command: Sequence[str], folder: Path, pattern: str) -> tuple[list[Part], float]:
    """Start a command, measure its processes until a file appears, and end them.

    Args:
        command: with its arguments.
        folder: working folder of the command.
        pattern: of the file, in the folder.

    Returns:
        Processes by kind, and seconds until the file appeared.

    Raises:
        RuntimeError: the command ended before or hangs; the message has the end of its output.
    """
    log = folder / "command.log"
    start, seen = time.monotonic(), dict[int, Seen]()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        while not any(folder.glob(pattern)):
            passed = time.monotonic() - start
            if process.poll() is not None or passed > PATIENCE:
                raise RuntimeError(f"{command}: no first epoch:\n{log.read_text()[-2000:]}")
            update(seen, process.pid, passed)
            time.sleep(PAUSE)
        update(seen, process.pid, time.monotonic() - start)
        return parts_of(seen, process.pid), time.monotonic() - start
    finally:
        end(process)


def update(seen: dict[int, Seen], first: int, passed: float) -> None:
    """Update the readings of a process and its descendants.

    Args:
        seen: process ID -> reading.
        first: process ID of the command.
        passed: seconds since the start of the command.
    """
    stats = {int(path.name): _stat(path) for path in Path("/proc").glob("[0-9]*")}
    stats = {pid: stat for pid, stat in stats.items() if stat}
    family = {first}
    while more := {pid for pid, stat in stats.items() if int(stat[1]) in family} - family:
        family |= more
    for pid in family & stats.keys():
        stat = stats[pid]
        cpu = (int(stat[11]) + int(stat[12])) / TICKS
        before = seen.get(pid)
        title = _title(pid) or (before.title if before else "")
        seen[pid] = Seen(title, cpu, before.begun if before else passed)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a command as Ctrl-C does; kill its process group if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _stat(path: Path) -> list[str]:
    try:
        return (path / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""
