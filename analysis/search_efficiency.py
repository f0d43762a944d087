"""Epochs that searches train until they find a near-best configuration, replayed on a table.

    python analysis/search_efficiency.py --out analysis-output

The table of `grid.py` has the score of every encoder after every epoch, so a search of minutes is
replayed in milliseconds; 50 seeds take about a minute on two cores. A missing table is made first
(half an hour). A search ends when it has a configuration within 0.5 points of the grid's best.
Compared are

- plain: Tune's OptunaSearch over five dimensions, one training for each sample, as in a short
  script; random and grid draw the samples at random and in shuffled order;
- sweep: raysearch, which scores every inlier model on each encoder and trains none twice;
- sweep+asha: sweep that also prunes trials, with default settings;
- sweep+asha+warm: sweep+asha that starts with the three best configurations of the fans' grid.

Writes `search_efficiency.csv` (best score so far, for each search, seed and number of epochs),
`search_efficiency_summary.csv`, which also has 1 and 2 points, and `search_efficiency.png`. Prints
if a tenth of plain's epochs was enough. With `--concurrent 4` four trials run at once, so fewer
results precede each proposal.
Needs the extra `analysis`, which `make install-dev` brings.
"""

import argparse
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from math import comb
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from grid import EPOCHS, PROCESSES, table
from searches import LIMIT, Grid, Listed, Plain, Raysearch, Search, read, replay

from raysearch.search.warm_start import WarmStart
from raysearch.training.configuration import Configuration

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CLAIM = 10
NEAR = (0.005, 0.01, 0.02)
"""Distances from the grid's best score; a search ends within the first."""


@cache
def _grids(out: Path) -> tuple[Grid, list[WarmStart]]:
    fan = read(table("fan", out))
    ranked = sorted(fan.scores, key=lambda encoder: -float(np.nanmax(fan.scores[encoder][-1])))
    return read(table("valve", out)), [
        WarmStart(Configuration(*encoder), "fan") for encoder in ranked[:3]
    ]


def searches(grid: Grid, starts: Sequence[WarmStart]) -> dict[str, Callable[[int], Search]]:
    """Return the searches that are compared: name -> function of the seed."""
    return {
        "plain": partial(Plain, grid),
        "random": partial(Listed, grid, replacement=True),
        "grid": partial(Listed, grid, replacement=False),
        "sweep": partial(Raysearch, grid, scheduler="none"),
        "sweep+asha": partial(Raysearch, grid),
        "sweep+asha+warm": partial(Raysearch, grid, starts=starts),
    }


def _run_search(task: tuple[str, int, Path, int]) -> tuple[str, int, list[tuple[int, float]]]:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name, seed, out, concurrent = task
    grid, starts = _grids(out)
    search = searches(grid, starts)[name](seed)
    return name, seed, replay(search, grid.best - NEAR[0], concurrent)


def summary(curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """Summarise the epochs until the target over the seeds of each search; inf for a failure."""
    epochs_there = curves["epochs"].where(curves["best"] >= target, np.inf)
    epochs = epochs_there.groupby([curves["search"], curves["seed"]], sort=False).min()
    result = epochs.groupby("search", sort=False).agg(
        median=lambda e: np.quantile(e, 0.5, method="inverted_cdf"),
        p90=lambda e: np.quantile(e, 0.9, method="inverted_cdf"),
        found=lambda e: float(np.isfinite(e).mean()),
    )
    result["plain_over_this"] = result.loc["plain", "median"] / result["median"]
    return result.reset_index()


def conclude(result: pd.DataFrame, good: int, total: int) -> Iterator[str]:
    """Yield the verdict on a tenth of plain's epochs, and the reason if that is not enough.

    Args:
        result: of `summary`.
        good: number of encoders that reach the target.
        total: number of encoders of the grid.
    """
    from raysearch.search.optuna_backend import TPE_STARTUP

    fastest = int(result["median"].argmin())
    name, ratio = (result[column].iloc[fastest] for column in ("search", "plain_over_this"))
    trainings = result.set_index("search")["median"] / EPOCHS
    plain, best = trainings["plain"], trainings[name]
    verdict = "met" if ratio >= CLAIM else "not met"
    yield (
        f"at most 1/{CLAIM} of plain's epochs: {verdict}, {name} takes 1/{ratio:.1f} "
        f"({best:.1f} whole trainings against {plain:.1f})"
    )
    if ratio < CLAIM:
        yield (
            f"why: 1/{CLAIM} would be {plain / CLAIM:.1f} trainings, but random draws from "
            f"{total} encoders, none twice, need {even_odds(good, total)} trainings for even odds "
            f"to hit one of the {good} good ones; a sampler draws at random until its "
            f"{TPE_STARTUP}th training"
        )


def even_odds(good: int, total: int) -> int:
    """Return the least draws without replacement that hit a good encoder in half of all cases."""
    return next(n for n in range(1, total + 1) if 2 * comb(total - good, n) <= comb(total, n))


def plot(curves: pd.DataFrame, best: float, path: Path) -> None:
    """Plot the best score so far against epochs: median and middle half of the seeds."""
    figure, axes = plt.subplots(figsize=(8, 5))
    steps = np.unique(np.geomspace(EPOCHS, LIMIT * EPOCHS, 300).astype(int))
    for name, rows in curves.groupby("search", sort=False):
        lines = []
        for _, run in rows.groupby("seed"):
            index = np.searchsorted(run["epochs"], steps, side="right") - 1
            lines.append(np.where(index < 0, np.nan, run["best"].to_numpy()[np.maximum(index, 0)]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            low, middle, high = np.nanquantile(np.array(lines), (0.25, 0.5, 0.75), axis=0)
        axes.plot(steps, middle, label=name)
        axes.fill_between(steps, low, high, alpha=0.15)
    axes.axhline(best - NEAR[0], color="black", linestyle=":", linewidth=1)
    axes.text(
        EPOCHS, best - NEAR[0], "within 0.5 points of the grid's best", va="bottom", fontsize=8
    )
    axes.set(xscale="log", xlabel="epochs trained, over all trials", ylabel="best score so far")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay all searches, write the curves and print the conclusions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--concurrent", type=int, default=1, help="trials at once")
    options = parser.parse_args(arguments)
    grid, starts = _grids(options.out)
    tasks = [
        (name, seed, options.out, options.concurrent)
        for name in searches(grid, starts)
        for seed in range(options.seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        replays = pool.map(_run_search, tasks, chunksize=5)
    curves = pd.DataFrame(
        [(name, seed, *point) for name, seed, curve in replays for point in curve],
        columns=["search", "seed", "epochs", "best"],
    )
    curves.to_csv(options.out / "search_efficiency.csv", index=False)
    results = {f"{100 * near:g}": summary(curves, grid.best - near) for near in NEAR}
    result = pd.concat(results, names=["points"]).reset_index(level=0)
    result.to_csv(options.out / "search_efficiency_summary.csv", index=False)
    plot(curves, grid.best, options.out / "search_efficiency.png")
    print(f"{len(grid.scores)} encoders, best score {grid.best:.4f}; epochs until within some")
    print(f"points of it: median, 90th percentile, share of {options.seeds} seeds that reached it")
    for points, rows in results.items():
        near = float(points) / 100
        good = sum(np.nanmax(scores[-1]) >= grid.best - near for scores in grid.scores.values())
        print(f"\nwithin {points} points, as {good} encoders are")
        print(rows.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        print(*conclude(rows, good, len(grid.scores)), sep="\n")


if __name__ == "__main__":
    main()
