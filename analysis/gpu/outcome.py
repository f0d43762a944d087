"""Rows and checks of the sections of gpu_check.py, and how they are shown and stored."""

import gc
import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

Row = dict[str, Any]

_START = time.monotonic()


@dataclass(frozen=True)
class Check:
    """A figure that must not exceed its limit.

    Attributes:
        value: None if it could not be measured; the check then fails.
        limit: largest value that passes.
    """

    name: str
    value: float | None
    limit: float

    @property
    def passed(self) -> bool:
        """True if the value is finite and within the limit."""
        return self.value is not None and math.isfinite(self.value) and self.value <= self.limit

    def row(self) -> Row:
        """Return the check as it is stored and shown."""
        return {
            "name": self.name,
            "passed": self.passed,
            "value": self.value,
            "limit": self.limit,
        }


@dataclass
class Section:
    """Tables and checks of one part of the program.

    Attributes:
        tables: title -> rows; all rows of a table have the same keys.
        error: first line of the exception that ended the section, or empty.
        seconds: time that the section took.
    """

    tables: dict[str, list[Row]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def add(self, title: str, row: Row) -> None:
        """Append a row to a table."""
        self.tables.setdefault(title, []).append(row)

    def check(self, name: str, value: float | None, limit: float) -> None:
        """Append a check."""
        self.checks.append(Check(name, value, limit))


def say(text: str) -> None:
    """Print a line of progress with the time since the start."""
    print(f"[{elapsed():6.1f} s] {text}", flush=True)


def elapsed() -> float:
    """Return the seconds since the program started."""
    return time.monotonic() - _START


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this block after a number of seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {max(seconds, 0):.3g} s, its limit")

    handler = signal.signal(signal.SIGALRM, stop)
    timer, _ = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, timer)


def run_section(name: str, fill: Callable[[Section], None], limit: float) -> Section:
    """Run one section; its exception becomes its error and a check that fails."""
    section, start = Section(), time.monotonic()
    say(f"{name}: starts, at most {limit:.0f} s")
    try:
        with time_limit(limit):
            fill(section)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        section.error = f"{type(error).__name__}: {reason}"[:300]
    section.seconds = time.monotonic() - start
    section.check(f"{name}: errors", float(bool(section.error)), 0.0)
    say(f"{name}: {section.error or 'done'}, {section.seconds:.1f} s")
    return section


def table(title: str, rows: Sequence[Row]) -> str:
    """Return rows as plain text; lists are only in the JSON file."""
    shown = [{k: _cell(v) for k, v in row.items() if not _is_nested(v)} for row in rows]
    return f"\n{title}\n" + tabulate(shown, headers="keys", disable_numparse=True)


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def all_checks(sections: Mapping[str, Section]) -> list[Check]:
    """Return the checks of all sections."""
    return [check for section in sections.values() for check in section.checks]


def exit_code(checks: Sequence[Check]) -> int:
    """Return 1 if a check failed, else 0."""
    return int(not all(check.passed for check in checks))


def write(path: Path, machine: Row, plan: Row, sections: Mapping[str, Section]) -> None:
    """Write all results so far as JSON."""
    content = {
        "machine": machine,
        "plan": plan,
        "seconds": elapsed(),
        "sections": {
            name: {"seconds": section.seconds, "error": section.error, "tables": section.tables}
            for name, section in sections.items()
        },
        "checks": [check.row() for check in all_checks(sections)],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def relative_difference(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the largest |a - b| / |b| of two equally long sequences."""
    pairs = zip(values, reference, strict=True)
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=0.0)


def reset_memory() -> None:
    """Free the GPU memory that earlier measurements left reserved and forget the peaks."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> tuple[float | None, float | None]:
    """Return the peaks of allocated and reserved GPU memory in MiB, None without a GPU."""
    if not torch.cuda.is_available():
        return None, None
    return (
        torch.cuda.max_memory_allocated() / 2**20,
        torch.cuda.max_memory_reserved() / 2**20,
    )


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def counted_syncs(counts: dict[str, int]) -> Iterator[None]:
    """Count the calls in this block that wait for the GPU, by source line.

    A non-blocking copy from pageable memory waits as well, but is not counted.
    """
    if not torch.cuda.is_available():
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if "synchronizing" in str(warning.message):
            line = f"{Path(warning.filename).name}:{warning.lineno}"
            counts[line] = counts.get(line, 0) + 1
