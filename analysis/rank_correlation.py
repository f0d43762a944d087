"""Correlation of the figures after some epochs with the last score, on which ASHA relies.

    python analysis/rank_correlation.py --out analysis-output

reads the tables of `grid.py` and takes seconds; missing tables are made first (half an hour). For
every epoch and each of three figures of an encoder - the score of its best epoch so far, the
highest of these scores so far, and the validation loss with lambda = 1, negated - it computes

- the rank correlation (Spearman, Kendall) with the score after the last epoch;
- kept: the share of the best tenth of the encoders (1 at least) that are among the best third by
  this figure, which a rung does not prune.

Writes `rank_correlation.csv` and `rank_correlation.png`.
Needs the extra `analysis`, which `make install-dev` brings.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from grid import EPOCHS, GRIDS, table
from scipy.stats import kendalltau, spearmanr
from searches import Grid, read

from raysearch.study.strategy import GRACE, REDUCTION

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PROMOTED = 1 / REDUCTION
BEST = 1 / 10


def figures(grid: Grid) -> dict[str, np.ndarray]:
    """Return the figures that a rung may compare: (encoders, epochs) each, higher = better."""
    scores = np.array([np.nanmax(scores, axis=1) for scores in grid.scores.values()])
    losses = np.array([losses.sum(axis=1) for losses in grid.losses.values()])
    return {
        "score": scores,
        "highest score": np.maximum.accumulate(scores, axis=1),
        "loss": -losses,
    }


def kept_share(figure: np.ndarray, last: np.ndarray) -> float:
    """Return the share of the best encoders that a rung does not prune.

    Args:
        figure: of each encoder at the rung (N,).
        last: score of each encoder after the last epoch (N,).
    """
    count = len(last)
    best = np.argsort(-last, kind="stable")[: max(1, round(BEST * count))]
    promoted = np.argsort(-figure, kind="stable")[: max(1, round(PROMOTED * count))]
    return float(np.isin(best, promoted).mean())


def correlations(machine: str, grid: Grid) -> pd.DataFrame:
    """Return a row for every figure and epoch."""
    values_of = figures(grid)
    last = values_of["score"][:, -1]
    return pd.DataFrame(
        [
            {
                "machine": machine,
                "figure": name,
                "epoch": epoch + 1,
                "spearman": spearmanr(values[:, epoch], last).statistic,
                "kendall": kendalltau(values[:, epoch], last).statistic,
                "kept": kept_share(values[:, epoch], last),
            }
            for name, values in values_of.items()
            for epoch in range(EPOCHS)
        ]
    )


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Plot Spearman's correlation and the share of the best that is kept against the epoch."""
    machines = list(GRIDS)
    figure, panels = plt.subplots(2, len(machines), sharex=True, figsize=(9, 6), squeeze=False)
    for column, machine in enumerate(machines):
        for panel, quantity in zip(panels[:, column], ("spearman", "kept"), strict=True):
            for name, part in rows[rows["machine"] == machine].groupby("figure", sort=False):
                panel.plot(part["epoch"], part[quantity], marker=".", label=name)
            panel.axvline(round(GRACE * EPOCHS), color="black", linestyle=":", linewidth=1)
            panel.set_ylim(-1.05 if quantity == "spearman" else -0.05, 1.05)
        panels[0, column].set_title(machine)
        panels[1, column].set_xlabel("epoch (dotted: the default rung)")
    panels[0, 0].set_ylabel("Spearman correlation\nwith the last score")
    panels[1, 0].set_ylabel("best tenth among\nthe third not pruned")
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    out = parser.parse_args(arguments).out
    rows = pd.concat([correlations(machine, read(table(machine, out))) for machine in GRIDS])
    rows.to_csv(out / "rank_correlation.csv", index=False)
    plot(rows, out / "rank_correlation.png")
    valve = rows[rows["machine"] == next(iter(GRIDS))]
    print(valve.pivot(index="epoch", columns="figure", values=["spearman", "kept"]).round(2))


if __name__ == "__main__":
    main()
