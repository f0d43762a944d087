"""What both sides of `scale.py` are measured by."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

Facts = dict[str, float]
ASKS = 20
SETTLED = 4
"""The first one of so many trials, in which processes start, does not count for the rate."""


class Times:
    """When trials ended and reports came, and what that cost this process."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.ends: list[tuple[float, float]] = []
        self.reports: list[tuple[float, float]] = []

    def end(self) -> None:
        """A trial ended."""
        self.ends.append((time.monotonic(), time.process_time()))

    def report(self) -> None:
        """A report came."""
        self.reports.append((time.monotonic(), time.process_time()))

    def facts(self) -> Facts:
        """Per trial, once processes had started."""
        settled = self.ends[len(self.ends) // SETTLED :]
        (first, first_cpu), (last, last_cpu) = settled[0], settled[-1]
        each = 1e3 / (len(settled) - 1)
        return {
            "trial_ms": each * (last - first),
            "driver_ms": each * (last_cpu - first_cpu),
            "start_s": self.ends[0][0] - self.begun,
            "whole_s": last - self.begun,
            "peak_mb": peak(),
        }

    def reporting(self, reporters: int) -> Facts:
        """Per report, while all reporters were at work: the middle half of all reports."""
        quarter = len(self.reports) // 4
        (first, first_cpu), (last, last_cpu) = self.reports[quarter], self.reports[-quarter]
        count = len(self.reports) - 2 * quarter
        return {
            "reporters": reporters,
            "reports_per_s": count / (last - first),
            "report_ms": 1e3 * (last_cpu - first_cpu) / count,
            "peak_mb": peak(),
        }


def peak() -> float:
    """Most memory that this process held, in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def timed(step: Callable[[], None]) -> float:
    """Median time in ms; the first call may prepare something."""
    step()
    found = []
    for _ in range(ASKS - 1):
        begun = time.perf_counter()
        step()
        found.append(1e3 * (time.perf_counter() - begun))
    return median(found)


def main(*measures: Callable[..., Facts]) -> None:
    """Takes one of the measurements: program NAME JSON; the last line of the output is JSON."""
    known = {measure.__name__: measure for measure in measures}
    with tempfile.TemporaryDirectory() as scratch:
        found = known[sys.argv[1]](Path(scratch), **json.loads(sys.argv[2]))
    print(json.dumps(found))
