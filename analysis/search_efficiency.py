"""How many epochs a search trains until it has found what the grid holds, replayed on a table.

    python analysis/search_efficiency.py --out analysis-output

The table of `grid.py`, which is made first if it is not there (half an hour), tells what every
encoder would score after every epoch, so a search of minutes is replayed in milliseconds; 50 seeds
take about a minute on two cores. A search is over when it has a configuration within 0.5 points of
the grid's best. Compared are

- plain: Tune's OptunaSearch over five dimensions, one training for each sample, as a short script
  has it; random and grid the same by chance and in shuffled order;
- sweep: raysearch, which scores every inlier model on each encoder and trains none twice;
- sweep+asha: which also gives up poor trials, by its defaults;
- sweep+asha+warm: which also begins with the three best configurations of the fans' grid.

Writes `search_efficiency.csv` (best score so far, for each search, seed and number of epochs),
`search_efficiency_summary.csv`, which also has 1 and 2 points, and `search_efficiency.png`. Says
whether a tenth of plain's epochs was enough. With `--concurrent 4` four trials run at once, so that
proposals know less.
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
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from grid import EPOCHS, PROCESSES, table
from searches import LIMIT, Grid, Listed, Plain, Raysearch, Search, read, replay

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CLAIM = 10
NEAR = (0.005, 0.01, 0.02)
"""Scores so far from the grid's best; a search is over when it is as near as the first."""


@cache
def _grids(out: Path) -> tuple[Grid, list[Any]]:
    from raysearch.config import Configuration
    from raysearch.search.warm_start import WarmStart

    fan = read(table("fan", out))
    ranked = sorted(fan.scores, key=lambda encoder: -float(np.nanmax(fan.scores[encoder][-1])))
    return read(table("valve", out)), [
        WarmStart(Configuration(*encoder), "fan") for encoder in ranked[:3]
    ]


def searches(grid: Grid, starts: Sequence[Any]) -> dict[str, Callable[[int], Search]]:
    """What is compared, by the seed."""
    return {
        "plain": partial(Plain, grid),
        "random": partial(Listed, grid, again=True),
        "grid": partial(Listed, grid, again=False),
        "sweep": partial(Raysearch, grid, scheduler="none"),
        "sweep+asha": partial(Raysearch, grid),
        "sweep+asha+warm": partial(Raysearch, grid, starts=starts),
    }


def _one(task: tuple[str, int, Path, int]) -> tuple[str, int, list[tuple[int, float]]]:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name, seed, out, concurrent = task
    grid, starts = _grids(out)
    search = searches(grid, starts)[name](seed)
    return name, seed, replay(search, grid.best - NEAR[0], concurrent)


def summary(curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """Epochs until the target, over the seeds of each search; a failure counts as endless."""
    there = curves["epochs"].where(curves["best"] >= target, np.inf)
    epochs = there.groupby([curves["search"], curves["seed"]], sort=False).min()
    found = epochs.groupby("search", sort=False).agg(
        median=lambda e: np.quantile(e, 0.5, method="inverted_cdf"),
        p90=lambda e: np.quantile(e, 0.9, method="inverted_cdf"),
        found=lambda e: float(np.isfinite(e).mean()),
    )
    found["plain_over_this"] = found.loc["plain", "median"] / found["median"]
    return found.reset_index()


def conclude(found: pd.DataFrame, good: int, of: int) -> Iterator[str]:
    """Whether a tenth of plain's epochs is enough, and if not, what is in the way.

    Args:
        found: of `summary`.
        good: encoders that are within the target.
        of: encoders of the grid.
    """
    from raysearch.search.optuna_backend import STARTUP

    plain = found.set_index("search").loc["plain", "median"] / EPOCHS
    best = found.loc[found["median"].idxmin()]
    ratio = best["plain_over_this"]
    verdict = "met" if ratio >= CLAIM else "not met"
    yield (
        f"at most 1/{CLAIM} of plain's epochs: {verdict}, {best['search']} takes 1/{ratio:.1f} "
        f"({best['median'] / EPOCHS:.1f} whole trainings against {plain:.1f})"
    )
    if ratio < CLAIM:
        yield (
            f"why: 1/{CLAIM} would be {plain / CLAIM:.1f} trainings, but whoever knows nothing of "
            f"{of} encoders trains {even_odds(good, of)} of them, none twice, for even odds to "
            f"meet one of the {good}; a sampler knows something from its {STARTUP}th training on"
        )


def even_odds(good: int, of: int) -> int:
    """Least draws, without putting back, that find a good one in half of all cases."""
    return next(n for n in range(1, of + 1) if 2 * comb(of - good, n) <= comb(of, n))


def plot(curves: pd.DataFrame, best: float, path: Path) -> None:
    """Draws the best score so far against epochs: median, and the middle half of the seeds."""
    figure, axes = plt.subplots(figsize=(8, 5))
    steps = np.unique(np.geomspace(EPOCHS, LIMIT * EPOCHS, 300).astype(int))
    for name, rows in curves.groupby("search", sort=False):
        lines = []
        for _, run in rows.groupby("seed"):
            place = np.searchsorted(run["epochs"], steps, side="right") - 1
            lines.append(np.where(place < 0, np.nan, run["best"].to_numpy()[np.maximum(place, 0)]))
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
    """Replays all searches."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--concurrent", type=int, default=1, help="trials at once")
    asked = parser.parse_args(arguments)
    grid, starts = _grids(asked.out)
    tasks = [
        (name, seed, asked.out, asked.concurrent)
        for name in searches(grid, starts)
        for seed in range(asked.seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        found = pool.map(_one, tasks, chunksize=5)
    curves = pd.DataFrame(
        [(name, seed, *point) for name, seed, curve in found for point in curve],
        columns=["search", "seed", "epochs", "best"],
    )
    curves.to_csv(asked.out / "search_efficiency.csv", index=False)
    results = {f"{100 * near:g}": summary(curves, grid.best - near) for near in NEAR}
    result = pd.concat(results, names=["points"]).reset_index(level=0)
    result.to_csv(asked.out / "search_efficiency_summary.csv", index=False)
    plot(curves, grid.best, asked.out / "search_efficiency.png")
    print(f"{len(grid.scores)} encoders, best score {grid.best:.4f}; epochs until within so many")
    print(f"points of it: median, 90th percentile, share of {asked.seeds} seeds that came there")
    for points, rows in results.items():
        near = float(points) / 100
        good = sum(np.nanmax(scores[-1]) >= grid.best - near for scores in grid.scores.values())
        print(f"\nwithin {points} points, as {good} encoders are")
        print(rows.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        print(*conclude(rows, good, len(grid.scores)), sep="\n")


if __name__ == "__main__":
    main()
