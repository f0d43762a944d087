"""Times, memory and the command line of a measurement, for both sides of `scale.py`."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

Facts = dict[str, float]
ASKS = 20
"""Proposals that are timed; the first is left out."""

START_PART = 4
"""The first 1 / START_PART of the trials, in which processes start, does not count for the rate."""


class Times:
    """Times of trials' ends and of reports, each with this process's CPU time until then."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.ends: list[tuple[float, float]] = []
        self.reports: list[tuple[float, float]] = []

    def end(self) -> None:
        """Note the end of a trial."""
        self.ends.append((time.monotonic(), time.process_time()))

    def report(self) -> None:
        """Note a report."""
        self.reports.append((time.monotonic(), time.process_time()))

    def facts(self) -> Facts:
        """Return the figures per trial, without the trials in which processes started."""
        settled = self.ends[len(self.ends) // START_PART :]
        (first, first_cpu), (last, last_cpu) = settled[0], settled[-1]
        scale = 1e3 / (len(settled) - 1)
        return {
            "trial_ms": scale * (last - first),
            "driver_ms": scale * (last_cpu - first_cpu),
            "start_s": self.ends[0][0] - self.begun,
            "whole_s": last - self.begun,
            "peak_mb": peak(),
        }

    def reporting(self, reporters: int) -> Facts:
        """Return the figures per report of the middle half, while all reporters were running."""
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
    """Return the peak memory of this process in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def timed(step: Callable[[], None]) -> float:
    """Return the median time of a step in ms; the first call is left out."""
    step()
    times = []
    for _ in range(ASKS - 1):
        begun = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - begun))
    return median(times)


def main(*measures: Callable[..., Facts]) -> None:
    """Run the measurement that the command line names; print its figures as JSON.

    The arguments are NAME JSON, where JSON has the parameters of the measurement.
    """
    by_name = {measure.__name__: measure for measure in measures}
    with tempfile.TemporaryDirectory() as scratch:
        facts = by_name[sys.argv[1]](Path(scratch), **json.loads(sys.argv[2]))
    print(json.dumps(facts))
