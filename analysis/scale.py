"""Overhead of raysearch against plain Tune and OptunaSearch, with trials that do nothing.

    python analysis/scale.py                    # about 11 minutes on 2 cores
    python analysis/scale.py --whole --repeats 1    # about 40 minutes: runs all 11,000 trials
    python analysis/scale.py --trials 200 --repeats 1 --reporters 4    # 4 minutes, a short version

Both sides run two trials at once on the same machine, in alternation; every measurement runs in a
separate process. It measures

- time per trial once all processes have started (the time until then is `start_s`), CPU time of the
  driver per trial, and the driver's peak memory. Both sides start with the results of all but the
  last 300 trials: raysearch has them as records on disk, OptunaSearch as evaluated points. With
  --whole these trials run, too;
- the time of a proposal and of its result, after that number of trials;
- the time that a run takes to resume after that number of trials: all of them complete, or pruned
  as by ASHA, with histories of up to 300 epochs;
- reports per second, and the driver's CPU time per report, of a number of reporters that fits the
  machine. The figures for 1,000 reporters are extrapolated.

Writes scale.csv and scale.png into --out, and prints the conclusions.
Needs the extra `analysis`, which `make install-dev` brings.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LAST = 300
"""Trials of a study that run, unless --whole is set."""

ALLOWED = 1.1
"""Largest time per trial, as a multiple of the plain side's."""

RESUME = 30.0
"""Longest time of a resume in s."""

MODULES = {"raysearch": "scaling.raysearch_side", "plain": "scaling.plain"}
"""Module of each side, which runs one measurement."""


@dataclass(frozen=True)
class Row:
    """A figure of a measurement.

    Attributes:
        side: raysearch or plain.
        trials: of the study, at the end.
        quantity: name that ends with the unit.
    """

    measure: str
    side: str
    trials: int
    repeat: int
    quantity: str
    value: float


def measure(
    side: str, name: str, trials: int, repeat: int = 0, /, **arguments: object
) -> list[Row]:
    """Run a measurement in a separate process."""
    call = [sys.executable, "-m", MODULES[side], name, json.dumps(arguments)]
    folder = Path(__file__).parent
    ended = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(call)} failed:\n{ended.stderr[-3000:]}")
    facts = json.loads(ended.stdout.splitlines()[-1])
    print(f"{side} {name} {arguments}: {facts}", flush=True)
    kind = name.removeprefix(f"{side}_")
    return [Row(kind, side, trials, repeat, quantity, value) for quantity, value in facts.items()]


def measure_all(options: argparse.Namespace) -> Iterator[Row]:
    """Take all measurements, those of both sides in alternation."""
    for trials in options.trials:
        before = 0 if options.whole else max(0, trials - LAST)
        # Only in the shortest study are the two sides close enough to need repeats.
        repeats = options.repeats if trials == min(options.trials) else 1
        for repeat in range(repeats):
            for side in MODULES:
                yield from measure(
                    side, f"{side}_trials", trials, repeat, trials=trials - before, before=before
                )
    for row in measure("plain", "plain_trials", 20, 0, trials=20, before=0, reuse=False):
        yield Row("trials without reuse", *list(vars(row).values())[1:])
    for trials in sorted({100, *options.trials}):
        for side in MODULES:
            yield from measure(side, f"{side}_ask", trials, before=trials)
    largest = max(options.trials)
    for name, asha in (("resume", False), ("resume after ASHA", True)):
        for row in measure("raysearch", "resume", largest, before=largest, asha=asha):
            yield Row(name, *list(vars(row).values())[1:])
    for side in MODULES:
        yield from measure(
            side, f"{side}_reports", options.reporters, reporters=options.reporters, reports=200
        )


def value(rows: list[Row], kind: str, side: str, trials: int, quantity: str) -> float:
    """Return the median of a figure over its repeats."""
    key = (kind, side, trials, quantity)
    return median(r.value for r in rows if (r.measure, r.side, r.trials, r.quantity) == key)


def conclude(rows: list[Row], options: argparse.Namespace) -> Iterator[str]:
    """Yield the conclusions, a line each."""
    for trials in options.trials:
        own_ms, plain_ms = (value(rows, "trials", side, trials, "trial_ms") for side in MODULES)
        verdict = "met" if own_ms <= ALLOWED * plain_ms else "not met"
        yield (
            f"{trials} trials: {own_ms:.1f} ms each against {plain_ms:.1f} ms: "
            f"{own_ms / plain_ms:.2f} x "
            f"(at most {ALLOWED}: {verdict})"
        )
        own_cpu, plain_cpu = (value(rows, "trials", side, trials, "driver_ms") for side in MODULES)
        own_peak, plain_peak = (value(rows, "trials", side, trials, "peak_mb") for side in MODULES)
        yield (
            f"  the driver's CPU time {own_cpu:.1f} ms against {plain_cpu:.1f} ms; its peak memory "
            f"{own_peak:.0f} MB against {plain_peak:.0f} MB"
        )
    slow = value(rows, "trials without reuse", "plain", 20, "trial_ms")
    yield f"plain Tune by its defaults, a new process each trial: {slow:.0f} ms a trial"
    for trials in sorted({100, *options.trials}):
        own_ms, plain_ms = (value(rows, "ask", side, trials, "ask_ms") for side in MODULES)
        yield f"a proposal after {trials} trials: {own_ms:.1f} ms against {plain_ms:.1f} ms"
    largest = max(options.trials)
    for kind in ("resume", "resume after ASHA"):
        seconds = value(rows, kind, "raysearch", largest, "resume_s")
        verdict = "met" if seconds <= RESUME else "not met"
        yield f"{kind} with {largest} records: {seconds:.1f} s (at most {RESUME:.0f}: {verdict})"
    for side in MODULES:
        rate, cost = (
            value(rows, "reports", side, options.reporters, quantity)
            for quantity in ("reports_per_s", "report_ms")
        )
        yield (
            f"{side}: {options.reporters} reporters, {rate:.0f} reports/s, {cost:.2f} ms of the "
            f"driver each; extrapolated: 1,000 reporters may report every {1000 / rate:.1f} s, "
            f"and reporting every 30 s take {100 * cost / 30:.0f} % of one core"
        )


def plot(rows: list[Row], options: argparse.Namespace, path: Path) -> None:
    """Plot time per trial and time of a proposal against the number of trials."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    proposals_after = sorted({100, *options.trials})
    for side, style in zip(MODULES, ("o-", "s--"), strict=True):
        label = "raysearch" if side == "raysearch" else "Tune + OptunaSearch"
        times = [value(rows, "trials", side, n, "trial_ms") for n in options.trials]
        panels[0].plot(options.trials, times, style, label=label)
        asks = [value(rows, "ask", side, n, "ask_ms") for n in proposals_after]
        panels[1].plot(proposals_after, asks, style, label=label)
    for panel, title in zip(panels, ("a trial that does nothing", "a proposal"), strict=True):
        panel.set(title=title, xlabel="trials of the study", ylabel="ms", xscale="log")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, write the figures and print the conclusions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--repeats", type=int, default=3, help="of the shortest study")
    parser.add_argument("--reporters", type=int, default=16)
    parser.add_argument("--whole", action="store_true", help="run all trials, however many")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = list(measure_all(options))
    with (options.out / "scale.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    plot(rows, options, options.out / "scale.png")
    print(*conclude(rows, options), sep="\n")


if __name__ == "__main__":
    main()
