"""Check of a machine or of every machine of a cluster, before a search."""

import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysearch.backend.cluster import cluster, on_each_node
from raysearch.cli.disks import Findings, free_bytes
from raysearch.cli.exposures import exposures
from raysearch.cli.needs import try_machine, try_temporary, try_terminal
from raysearch.errors import UserError, printable
from raysearch.report.progress import say
from raysearch.storage import AnyPath, cache_folder, check_writable, make_folder, write_text
from raysearch.study.manifest import library_versions

CLOCK_SECONDS = 5.0
"""Largest difference of two clocks at which times still tell the order of events."""


@dataclass(frozen=True)
class Examination:
    """Report of one machine about itself.

    Attributes:
        versions: of Python and of the libraries that results depend on; "" if missing.
        gpus: names of the GPUs that torch can use.
        boards: number of GPUs that the machine's driver knows.
        clock: s since 1970, at the examination.
        free: bytes free on the disk of `cache`.
        cache: folder of decoded recordings.
        data: why the recordings cannot be read, empty if they can.
        out: why results cannot be written, empty if they can.
        findings: on its folders and its user.
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
    findings: Findings = field(default_factory=Findings)


def doctor(data: AnyPath, out: AnyPath, address: str, console: Console) -> bool:
    """Examine every machine of a cluster, or this one, and print the problems.

    Args:
        data: folder of the recordings.
        out: folder of the results.
        address: of the cluster; empty for this machine alone.
        console: to print on.

    Returns:
        True if there is no problem.

    Raises:
        UserError: the cluster cannot be joined.
    """
    here = Findings() if address else try_temporary()  # Ray's own processes have other variables.
    examinations, wrong = _examinations(data, out, address)
    wrong += here.faults
    show(examinations, wrong, console, here.notes)
    return not wrong


def show(
    examinations: Mapping[str, Examination | None],
    wrong: Collection[str],
    console: Console,
    notes: Collection[str] = (),
) -> None:
    """Print the versions, the machines, the problems and the notes.

    Args:
        examinations: by machine; None of a machine that does not answer.
        wrong: the problems, a line each.
        console: to print on.
        notes: on this machine.
    """
    answers = [answer for answer in examinations.values() if answer is not None]
    if answers:
        names = answers[0].versions
        say(console, ", ".join(f"{n} {_usual([a.versions[n] for a in answers])}" for n in names))
    console.print(_table(examinations))
    for problem in wrong:
        say(console, f"! {problem}")
    for note in (*remarks(examinations), *notes, *try_terminal().notes):
        say(console, f"note: {note}")
    machines = "1 machine" if len(examinations) == 1 else f"{len(examinations)} machines"
    result = f"{len(wrong) or 'no'} problem{'s' * (len(wrong) != 1)}"
    say(console, f"{machines} examined: {result}")


def _examinations(
    data: AnyPath, out: AnyPath, address: str
) -> tuple[dict[str, Examination | None], list[str]]:
    """Examine every machine; return the examinations, and the problems.

    Raises:
        UserError: the cluster cannot be joined.
    """
    start = time.time()
    try:
        with cluster(address) as joined, _mark(out) as mark:
            start = time.time()
            examinations = on_each_node(examine, data, out, mark)
            return examinations, problems(examinations, (start, time.time())) + exposures(joined)
    except UserError as error:
        if address:
            raise
        # Without Ray, this process still tells what is wrong with this machine.
        alone: dict[str, Examination | None] = {socket.gethostname(): examine(data, out)}
        return alone, [*problems(alone, (start, time.time())), str(error)]


@contextmanager
def _mark(out: AnyPath) -> Iterator[AnyPath | None]:
    """Write a file for every machine to look for, which shows that they share the folder."""
    mark = out / f".doctor.{uuid4().hex}"
    try:
        make_folder(out)
        write_text(mark, "")
    except Exception:  # Each machine reports why it cannot write to the folder.
        yield None
        return
    try:
        yield mark
    finally:
        with suppress(FileNotFoundError):
            mark.unlink()


def examine(data: AnyPath, out: AnyPath, mark: AnyPath | None = None) -> Examination:
    """Examine the machine that this runs on.

    Args:
        data: folder of the recordings.
        out: folder of the results.
        mark: a file that another machine wrote to `out`.
    """
    import torch

    cache, unwritable = cache_folder(), _unwritable(out, mark)
    return Examination(
        host=socket.gethostname(),
        versions=library_versions(),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        boards=len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        clock=time.time(),
        free=free_bytes(cache),
        cache=str(cache),
        data="" if data.exists() else f"{data} does not exist",
        out=unwritable,
        findings=try_machine(data, None if unwritable else out),
    )


def _unwritable(out: AnyPath, mark: AnyPath | None) -> str:
    try:
        check_writable(out)
    except UserError as error:
        return str(error)
    if mark is not None and not mark.exists():
        return f"{out} is a folder of this machine alone"
    return ""


def problems(
    examinations: Mapping[str, Examination | None], window: tuple[float, float]
) -> list[str]:
    """List the problems of machines, one line each with its remedy.

    Args:
        examinations: host -> its examination, None without an answer.
        window: clock of this machine before and after the examinations.
    """
    lines = [
        f"{host} does not answer, or cannot import raysearch: install it there with the same "
        "constraints.txt"
        for host, answer in examinations.items()
        if answer is None
    ]
    answers = {host: answer for host, answer in examinations.items() if answer is not None}
    lines += _differences(answers)
    for host, answer in answers.items():
        if answer.data:
            lines.append(
                f"{host}: no recordings: {answer.data}; --data takes a place all can reach"
            )
        if answer.out:
            lines.append(f"{host}: {answer.out}; --out takes a folder that all can write to")
        if answer.boards > len(answer.gpus):
            lines.append(
                f"{host}: torch sees {len(answer.gpus)} of {answer.boards} GPUs: its driver is too "
                f"old for torch {answer.versions['torch']}"
            )
        lines += [f"{host}: {fault}" for fault in answer.findings.faults]
        if not window[0] - CLOCK_SECONDS <= answer.clock <= window[1] + CLOCK_SECONDS:
            offset = answer.clock - sum(window) / 2
            lines.append(
                f"{host}: its clock is {offset:+.0f} s away from ours; start its NTP service"
            )
    return lines


def remarks(examinations: Mapping[str, Examination | None]) -> list[str]:
    """List what is no problem, but otherwise than usual on a machine."""
    return [
        f"{host}: {note}"
        for host, answer in examinations.items()
        if answer is not None
        for note in answer.findings.notes
    ]


def _differences(answers: Mapping[str, Examination]) -> list[str]:
    """List the libraries that are missing or of another version than on most machines."""
    lines = []
    for name in library_versions():
        versions = {host: answer.versions[name] for host, answer in answers.items()}
        if not versions:
            continue
        usual = _usual(versions.values())
        for host, version in versions.items():
            if not version:
                lines.append(f"{host}: {name} is not installed")
            elif version != usual:
                lines.append(f"{host}: {name} {version}, the others have {usual}")
    return lines


def _table(examinations: Mapping[str, Examination | None]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("machine", "GPUs", "recordings", "results", "free disk"):
        table.add_column(name)
    for host, answer in examinations.items():
        if answer is None:
            table.add_row(Text(printable(host)), "silent")
            continue
        gpus = ", ".join(f"{n} x {gpu}" for gpu, n in Counter(answer.gpus).items()) or "none"
        data, out = "missing" if answer.data else "found", "refused" if answer.out else "writable"
        free = f"{answer.free / 1e9:.0f} GB"
        table.add_row(Text(printable(host)), Text(printable(gpus)), data, out, free)
    return table


def _usual(versions: Collection[str]) -> str:
    return Counter(versions).most_common(1)[0][0]
