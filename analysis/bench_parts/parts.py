"""Parts of bench.py by name, and their run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from bench_parts import devices, scoring, training, trials
from bench_parts.apart import plain_side
from bench_parts.duel import CannotRunError, Duel, measure
from bench_parts.plan import Bench
from bench_parts.rows import Figure, Row, left_out, row_of
from gpu.outcome import elapsed, reset_memory, say, time_limit

Item = Duel | Figure | Row
Part = Callable[[Bench], Iterable[Item]]


def by_size(part: Callable[[Bench, int], Duel | Iterable[Figure | Row]]) -> Part:
    """Return a part that is measured at each batch size of the plan."""

    def all_sizes(bench: Bench) -> Iterator[Item]:
        for size in bench.plan.sizes.batch_sizes:
            items = part(bench, size)
            yield from [items] if isinstance(items, Duel) else items

    return all_sizes


PARTS: dict[str, Part] = {
    "epoch": by_size(training.epoch),
    "real data": by_size(training.constant_batch),
    "step": by_size(training.step),
    "feeding": by_size(training.feeding),
    "front end": by_size(training.front_end),
    "scoring": scoring.scoring,
    "flop use": by_size(devices.flop_use),
    "packing": by_size(devices.packed),
    "trial": trials.trial,
    "sweep": scoring.sweep,
    "trial start": trials.trial_start,
    "whole trial": trials.whole_trial,
    "precision": devices.precisions,
}
"""Names -> parts, the most important first: the last may run out of time."""

ON_CPU = [name for name in PARTS if name != "trial"]
"""Parts of a run without a GPU. The whole trial has the same work in it, which takes minutes."""


def run_part(name: str, bench: Bench) -> tuple[list[Row], bool]:
    """Run a part within the time that is left.

    Returns:
        Its rows, and True unless it failed. A part that this machine cannot run has not failed.
    """
    rows: list[Row] = []
    limit = bench.plan.sizes.total - elapsed()
    say(f"{name}: starts, {max(limit, 0):.0f} s left")
    succeeded, missing = True, ""
    try:
        with time_limit(limit):
            for position, item in enumerate(PARTS[name](bench)):
                rows.append(_row(item, name, position, bench))
                say(_line(rows[-1]))
    except CannotRunError as reason:
        missing = str(reason)
    except TimeoutError as error:
        missing = f"no time left: {error}"
    except Exception as error:
        missing = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        succeeded = False
    if missing:
        rows.append(left_out(name, missing))
        say(_line(rows[-1]))
    reset_memory()
    return rows, succeeded


def _row(item: Item, name: str, position: int, bench: Bench) -> Row:
    if isinstance(item, Row):
        return item
    if isinstance(item, Figure):
        return row_of(item)
    plan = bench.plan
    if item.is_cold:
        return row_of(measure(item, plan.cold_repeats))
    if not plan.apart:
        return row_of(measure(item, plan.repeats))
    with plain_side(name, position, bench) as plain:
        return row_of(measure(replace(item, plain=plain), plan.repeats))


def _line(row: Row) -> str:
    if row.kind == "left out":
        return f"{row.part}: left out, {row.remark}"
    if row.ratio is None:
        return f"{row.part}: {row.value:.4g} {row.unit}"
    return (
        f"{row.part}: {row.raysearch_rate:.4g} against {row.plain_rate:.4g} {row.unit}/s, "
        f"{row.ratio:.2f} times"
    )
