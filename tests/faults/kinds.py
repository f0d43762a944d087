"""The kinds of faults that break a search."""

import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raysearch.study.locking import PATIENCE
from tests.faults.broken import TRIALS, MissedError, Search, mount, unmount

RAYLET, GCS = "raylet/raylet", "gcs/gcs_server"
TRIAL, PEER = "ray::ImplicitFunc", "ray::RayTrainWorker"
DISK = "24m"
"""Size of a disk that is filled."""


def nothing(search: Search) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: for the table.
        strike: breaks a running search, and mends what mends itself.
        prepare: called before the search starts.
        way_out: called after the same command was refused; does what its line says.
        moments: numbers of ended trials at which it may strike; -1 is before study.json.
        on_s3: the results lie on an S3 server.
        copied: the search has a copy of the recordings.
        workers: processes of a trial.
        needs: what the host must have: "root" or "cc".
    """

    name: str
    strike: Callable[[Search], None]
    prepare: Callable[[Search], None] = nothing
    way_out: Callable[[Search], None] = nothing
    moments: tuple[int, ...] = tuple(range(TRIALS + 1))
    on_s3: bool = False
    copied: bool = False
    workers: int = 1
    needs: str = ""

    @property
    def is_possible(self) -> bool:
        """True if this host has what the fault needs."""
        if self.needs == "root":
            return os.geteuid() == 0 and shutil.which("mount") is not None
        return self.needs != "cc" or shutil.which("cc") is not None


def kill_driver(search: Search) -> None:
    search.kill()


def kill(mark: str) -> Callable[[Search], None]:
    """Make a fault that kills one of the processes with a title."""

    def strike(search: Search) -> None:
        os.kill(search.process(mark), signal.SIGKILL)

    return strike


def stop_driver(search: Search) -> None:
    pid = search.driver.process.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(search.random.uniform(7, 12))
    os.kill(pid, signal.SIGCONT)


def be_taken_over(search: Search) -> None:
    """Stop the driver for longer than its lease lives, while the same command is started again."""
    pid = search.driver.process.pid
    os.kill(pid, signal.SIGSTOP)
    second = search.start()
    time.sleep(PATIENCE + search.random.uniform(5, 10))
    os.kill(pid, signal.SIGCONT)
    search.check_lines(second.wait())


def start_second_driver(search: Search) -> None:
    ended = search.start().wait()
    search.check_lines(ended)
    first = search.driver.wait()
    both = set(_trained(first.out)) & set(_trained(ended.out))
    if both:
        search.violations.append(f"both drivers trained {sorted(both)}")


def _trained(output: str) -> list[str]:
    """Return the lines of ended trials up to their times."""
    return [line.partition("[")[0] for line in output.splitlines() if ": COMPLETE " in line]


def mount_small_disk(search: Search) -> None:
    runs = search.home / "runs"
    runs.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", runs)
    search.stack.callback(unmount, runs)


def fill_disk(search: Search) -> None:
    ballast = search.home / "runs" / "ballast"
    left = search.random.choice([0, 4096, 100_000, 800_000])
    # The search may write meanwhile: then the disk is full all the more.
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        file.write(bytes(max(0, shutil.disk_usage(ballast.parent).free - left)))
    wait_a_while(search)
    ballast.unlink()


def wait_a_while(search: Search) -> None:
    time.sleep(search.random.uniform(1, 8))


def lose(folder: str) -> Callable[[Search], None]:
    """Make a fault that takes a folder away and brings it back."""

    def strike(search: Search) -> None:
        path, away = search.home / folder, search.home / f"{folder}-away"
        if not path.exists():
            raise MissedError
        path.rename(away)
        if folder == "data":
            kill_trial(search)
        wait_a_while(search)
        if path.exists():
            search.violations.append(f"{folder} was made anew: {sorted(path.rglob('*'))[:5]}")
            path.rename(search.home / f"{folder}-ghost")
        away.rename(path)

    return strike


def kill_trial(search: Search) -> None:
    """Kill the process of a trial if there is one, as it has the recordings open."""
    with suppress(MissedError, ProcessLookupError):
        os.kill(search.process(TRIAL), signal.SIGKILL)


def make_read_only(search: Search) -> None:
    runs = search.home / "runs"
    if not runs.exists():
        raise MissedError
    mount("--bind", runs, runs)
    mount("-o", "remount,bind,ro", runs)
    wait_a_while(search)
    unmount(runs)


def close_gate(search: Search) -> None:
    assert search.gate is not None
    search.gate.close()
    search.stack.callback(search.gate.close)
    time.sleep(search.random.uniform(1, 15))
    search.gate.open()


def truncate(*patterns: str) -> Callable[[Search], None]:
    """Make a fault that kills the driver and then cuts a file of the study short."""

    def strike(search: Search) -> None:
        search.kill()
        paths = [path for pattern in patterns for path in Path(str(search.folder)).glob(pattern)]
        search.retrained = any("best" in pattern for pattern in patterns)
        _cut(search, [path for path in paths if not path.name.startswith(".")])

    return strike


def truncate_unfinished(search: Search) -> None:
    """Kill the driver while a trial has a checkpoint, and cut the checkpoint short."""
    while not list(Path(str(search.folder)).glob("encoders/*/last.safetensors")):
        search.wait_for(-1, 0.02)
    search.kill()
    _cut(search, sorted(Path(str(search.folder)).glob("encoders/*/last.safetensors")))


def truncate_cache(search: Search) -> None:
    """Kill the driver, and cut decoded recordings short."""
    search.kill()
    _cut(search, [p for p in (search.home / "cache").rglob("*") if p.suffix in (".i16", ".json")])


def _cut(search: Search, paths: list[Path]) -> None:
    if not paths:
        raise MissedError
    path = search.random.choice(sorted(paths))
    size = path.stat().st_size
    shutil.copy2(path, search.home / "backup")
    os.truncate(path, search.random.choice([0, size // 2, max(0, size - 2)]))
    search.remarks.append(f"{path.name} cut from {size} to {path.stat().st_size}")
    search.broken = path
    if path.parent.name == "records":
        search.damaged.add(path.name)


def move_away(search: Search) -> None:
    """Move the damaged file away, as the line says."""
    assert search.broken is not None
    search.broken.unlink()


def bring_back(search: Search) -> None:
    """Put a copy of the file in its place, as the line says."""
    assert search.broken is not None
    shutil.copy2(search.home / "backup", search.broken)


def write_proposal(search: Search) -> None:
    """Put the content of the proposal back, from its record or from a new proposal."""
    assert search.broken is not None
    record = search.folder / "records" / search.broken.name
    if record.exists():
        bring_back(search)
    else:
        move_away(search)


def change_recording(search: Search) -> None:
    """Change a recording while the search runs; it is put back after the command was refused."""
    folder = search.home / "data" / "dev_data" / "valve" / "train"
    search.broken = path = search.random.choice(sorted(folder.rglob("*.wav")))
    shutil.copy2(path, search.home / "backup")
    content = bytearray(path.read_bytes())
    content[-2000:] = bytes(search.random.randbytes(2000))
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").rename(path)


def load_clock(search: Search) -> None:
    """Start the search with a wall clock that can be set."""
    library, shift = search.home / "clock.so", search.home / "shift"
    source = Path(__file__).with_name("clock.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    shift.write_bytes(struct.pack("l", 0))
    search.environment |= {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(shift)}


def set_clock(search: Search) -> None:
    """Set the wall clock, which the search and its processes share."""
    seconds = search.random.choice([-86_400, -600, -40, 40, 600, 86_400])
    search.remarks.append(f"{seconds:+d} s")
    with (search.home / "shift").open("r+b") as file:
        file.write(struct.pack("l", seconds))


EARLY = tuple(range(-1, TRIALS + 1))
RUNNING = tuple(range(TRIALS))
SOME = tuple(range(1, TRIALS + 1))

FAULTS = (
    Fault("driver killed", kill_driver, moments=EARLY),
    Fault("raylet killed", kill(RAYLET), moments=RUNNING),
    Fault("GCS killed", kill(GCS), moments=RUNNING),
    Fault("trial killed", kill(TRIAL), moments=RUNNING),
    Fault("DDP peer killed", kill(PEER), moments=RUNNING, workers=2),
    Fault("driver stopped", stop_driver, moments=RUNNING),
    Fault("two drivers", start_second_driver, moments=EARLY),
    Fault("disk full", fill_disk, mount_small_disk, needs="root"),
    Fault("out away", lose("runs")),
    Fault("out read-only", make_read_only, needs="root"),
    Fault("data away", lose("data"), moments=RUNNING),
    Fault("S3 away", close_gate, on_s3=True),
    Fault("driver killed, on S3", kill_driver, on_s3=True),
    Fault("two drivers, on S3", start_second_driver, on_s3=True),
    Fault("driver taken over, on S3", be_taken_over, moments=RUNNING[:-1], on_s3=True),
    Fault("checkpoint cut", truncate_unfinished, moments=RUNNING),
    Fault("best checkpoint cut", truncate("encoders/*/best.safetensors"), moments=SOME),
    Fault("record cut", truncate("records/*.json"), way_out=move_away, moments=SOME),
    Fault("proposal cut", truncate("proposals/*.json"), way_out=write_proposal),
    Fault("journal cut", truncate("study.journal")),
    Fault(
        "table cut",
        truncate("trials.csv", "reference.json", "frozen.json", "confidence.json"),
        way_out=move_away,
        moments=SOME,
    ),
    Fault("study.json cut", truncate("study.json"), way_out=bring_back),
    Fault("cache cut", truncate_cache),
    Fault("recording changed", change_recording, way_out=bring_back, moments=SOME, copied=True),
    Fault("clock set", set_clock, load_clock, moments=EARLY, needs="cc"),
)
