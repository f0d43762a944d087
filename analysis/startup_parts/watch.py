"""Processes of a command until a file appears: their CPU time, and when they began."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAUSE = 0.02
"""Seconds between two looks at the processes."""

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
"""What the command line of a process holds, and what the process is called; the first that fits."""


@dataclass(frozen=True)
class Seen:
    """A process as it was seen last; times in s, `begun` since the command was started."""

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
    """Return what a process is called, from its command line."""
    if is_first:
        return "driver"
    return next((name for part, name in KINDS if part in title), "others")


def parts_of(seen: Mapping[int, Seen], first: int) -> list[Part]:
    """Sum up processes by kind, the most expensive first."""
    kinds: dict[str, list[Seen]] = {}
    for pid, process in seen.items():
        kinds.setdefault(kind_of(process.title, is_first=pid == first), []).append(process)
    parts = [
        Part(kind, len(found), sum(p.cpu for p in found), min(p.begun for p in found))
        for kind, found in kinds.items()
    ]
    return sorted(parts, key=lambda part: -part.cpu)


def watch(command: Sequence[str], folder: Path, pattern: str) -> tuple[list[Part], float]:
    """Start a command, watch its processes until a file appears, and end all of them.

    Args:
        command: with its arguments.
        folder: in which it is started.
        pattern: of the file, in the folder.

    Returns:
        Its processes by kind, and seconds until then.

    Raises:
        RuntimeError: it ended before, or hangs; the message has the end of what it printed.
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
            look(process.pid, seen, passed)
            time.sleep(PAUSE)
        look(process.pid, seen, time.monotonic() - start)
        return parts_of(seen, process.pid), time.monotonic() - start
    finally:
        end(process)


def look(first: int, seen: dict[int, Seen], passed: float) -> None:
    """Note every process below one, and that one."""
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
    """End a command as Ctrl-C does, and by force if it does not."""
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
