"""What may be wrong with a machine or a cluster, found before a search stumbles over it."""

import os
import shutil
import socket
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from rich.console import Console
from rich.table import Table

from raysearch.backend.cluster import cluster, on_each_node
from raysearch.backend.resources import Cluster
from raysearch.errors import UserError
from raysearch.report.progress import say
from raysearch.storage import AnyPath, cache_folder, check_writable, write_text
from raysearch.study.manifest import library_versions

CLOCK_SECONDS = 5.0
"""How far two clocks may lie apart before it is hard to tell from the times what came first."""

FREE_BYTES = 25 * 10**9
"""Room for the decoded recordings of all seven machine types, with some to spare."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Examination:
    """What one machine says of itself.

    Attributes:
        versions: of Python and of the libraries that results depend on; "" if missing.
        gpus: names of those that torch can use.
        boards: GPUs that the machine's driver knows.
        clock: s since 1970, when it was examined.
        free: bytes where decoded recordings are kept.
        data: why the recordings cannot be read, empty if they can.
        out: why results cannot be written, empty if they can.
    """

    host: str
    versions: Mapping[str, str]
    gpus: tuple[str, ...]
    boards: int
    clock: float
    free: int
    cache: str
    data: str
    out: str


def doctor(data: AnyPath, out: AnyPath, address: str, console: Console) -> bool:
    """Examines every machine of a cluster, or this one, and says what is wrong.

    Args:
        data: where the recordings should be.
        out: where results should go.
        address: of the cluster; empty for this machine alone.
        console: where to say it.

    Returns:
        Whether nothing is.

    Raises:
        UserError: the cluster cannot be joined.
    """
    with cluster(address) as joined, _mark(out) as mark:
        start = time.time()
        found = on_each_node(examine, data, out, mark)
        wrong = problems(found, (start, time.time())) + exposures(joined)
    answers = [one for one in found.values() if one is not None]
    if answers:
        names = answers[0].versions
        say(console, ", ".join(f"{n} {_usual([a.versions[n] for a in answers])}" for n in names))
    console.print(_table(found))
    for problem in wrong:
        say(console, f"! {problem}")
    machines = "1 machine" if len(found) == 1 else f"{len(found)} machines"
    what = "nothing is wrong" if not wrong else f"{len(wrong)} to mend"
    say(console, f"{machines} examined: {what}")
    return not wrong


@contextmanager
def _mark(out: AnyPath) -> Iterator[AnyPath | None]:
    """A file for every machine to find, which tells one shared folder from many of one name."""
    mark = out / f".doctor.{uuid4().hex}"
    try:
        write_text(mark, "")
    except Exception:  # Each machine says itself why it cannot write there.
        yield None
        return
    try:
        yield mark
    finally:
        with suppress(FileNotFoundError):
            mark.unlink()


def examine(data: AnyPath, out: AnyPath, mark: AnyPath | None = None) -> Examination:
    """Examines the machine that this runs on.

    Args:
        data: where the recordings should be.
        out: where results should go.
        mark: a file that another machine wrote there.
    """
    import torch

    cache = cache_folder()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return Examination(
        host=socket.gethostname(),
        versions=library_versions(),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        boards=len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        clock=time.time(),
        free=shutil.disk_usage(there).free,
        cache=str(cache),
        data="" if data.exists() else f"{data} does not exist",
        out=_unwritable(out, mark),
    )


def _unwritable(out: AnyPath, mark: AnyPath | None) -> str:
    try:
        check_writable(out)
    except UserError as error:
        return str(error)
    if mark is not None and not mark.exists():
        return f"{out} is a folder of this machine alone"
    return ""


def problems(found: Mapping[str, Examination | None], window: tuple[float, float]) -> list[str]:
    """What is wrong with some machines, a line for each thing with the way out.

    Args:
        found: host -> what it says of itself, None if it was silent.
        window: our own clock before and after they were asked.
    """
    lines = [
        f"{host} does not answer, or cannot import raysearch: install it there with the same "
        "constraints.txt"
        for host, one in found.items()
        if one is None
    ]
    answers = {host: one for host, one in found.items() if one is not None}
    lines += _differences(answers)
    for host, one in answers.items():
        if one.data:
            lines.append(f"{host}: no recordings: {one.data}; --data takes a place all can reach")
        if one.out:
            lines.append(f"{host}: {one.out}; --out takes a place that all can write to")
        if one.boards > len(one.gpus):
            lines.append(
                f"{host}: torch sees {len(one.gpus)} of {one.boards} GPUs: its driver is too old "
                f"for torch {one.versions['torch']}"
            )
        if one.free < FREE_BYTES:
            lines.append(
                f"{host}: {one.free / 1e9:.0f} GB free in {one.cache}; set RAYSEARCH_CACHE to a "
                f"disk with {FREE_BYTES / 1e9:.0f} GB for decoded recordings"
            )
        if not window[0] - CLOCK_SECONDS <= one.clock <= window[1] + CLOCK_SECONDS:
            away = one.clock - sum(window) / 2
            lines.append(
                f"{host}: its clock is {away:+.0f} s away from ours; start its NTP service"
            )
    return lines


def _differences(answers: Mapping[str, Examination]) -> list[str]:
    """Libraries that are missing or of another version than on most machines."""
    lines = []
    for name in library_versions():
        versions = {host: one.versions[name] for host, one in answers.items()}
        if not versions:
            continue
        usual = _usual(versions.values())
        for host, has in versions.items():
            if not has:
                lines.append(f"{host}: {name} is not installed")
            elif has != usual:
                lines.append(f"{host}: {name} {has}, the others have {usual}")
    return lines


def exposures(joined: Cluster) -> list[str]:
    """Ways in which a cluster is open to strangers: Ray runs what anyone who reaches it sends."""
    if not joined.address:
        return []
    lines = []
    host = urlsplit(joined.dashboard).hostname
    if host is not None and host not in LOOPBACK:
        lines.append(
            f"the dashboard listens on {host}: start Ray with --dashboard-host=127.0.0.1 and look "
            "at it with `ray dashboard cluster.yaml`"
        )
    if _lets_in(joined.dashboard):
        lines.append(
            "the cluster asks for no token: set RAY_AUTH_MODE=token for `ray start` and for us"
        )
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if token.is_file() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        lines.append(f"{token} can be read by others: chmod 600 {token}")
    return lines


def _lets_in(dashboard: str) -> bool:
    """Whether a cluster's dashboard takes commands from who has no token."""
    if not dashboard:
        return False
    try:
        return requests.get(f"{dashboard}/api/jobs/", timeout=10).ok
    except requests.RequestException:
        return False  # From here nobody is let in.


def _table(found: Mapping[str, Examination | None]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("machine", "GPUs", "recordings", "results", "free disk"):
        table.add_column(name)
    for host, one in found.items():
        if one is None:
            table.add_row(host, "silent")
            continue
        gpus = ", ".join(f"{n} x {gpu}" for gpu, n in Counter(one.gpus).items()) or "none"
        data, out = "missing" if one.data else "found", "refused" if one.out else "writable"
        table.add_row(host, gpus, data, out, f"{one.free / 1e9:.0f} GB")
    return table


def _usual(versions: Collection[str]) -> str:
    return Counter(versions).most_common(1)[0][0]
