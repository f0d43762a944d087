"""How well what is known after some epochs predicts the score in the end: what ASHA relies on.

    python analysis/rank_correlation.py --out analysis-output

reads the tables of `grid.py`, which are made first if they are not there (half an hour), and takes
seconds. For every epoch and each of three figures of an encoder - the score of its best epoch so
far, the highest such score so far, and the validation loss with lambda = 1, negated - it tells

- the rank correlation (Spearman, Kendall) with the score after the last epoch;
- kept: the share of the best tenth of the encoders, 1 at least, that are among the best third by
  this figure, which is who goes on at a rung.

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

GOES_ON = 1 / REDUCTION
BEST = 1 / 10


def figures(grid: Grid) -> dict[str, np.ndarray]:
    """What may be compared at a rung: (encoders, epochs) each, higher = better."""
    scores = np.array([np.nanmax(scores, axis=1) for scores in grid.scores.values()])
    losses = np.array([losses.sum(axis=1) for losses in grid.losses.values()])
    return {
        "score": scores,
        "highest score": np.maximum.accumulate(scores, axis=1),
        "loss": -losses,
    }


def kept(known: np.ndarray, last: np.ndarray) -> float:
    """Share of the best encoders in the end (N,) that are among those that go on (N,)."""
    count = len(last)
    best = np.argsort(-last, kind="stable")[: max(1, round(BEST * count))]
    on = np.argsort(-known, kind="stable")[: max(1, round(GOES_ON * count))]
    return float(np.isin(best, on).mean())


def correlations(machine: str, grid: Grid) -> pd.DataFrame:
    """A row for every figure and epoch."""
    found = figures(grid)
    last = found["score"][:, -1]
    return pd.DataFrame(
        [
            {
                "machine": machine,
                "figure": name,
                "epoch": epoch + 1,
                "spearman": spearmanr(values[:, epoch], last).statistic,
                "kendall": kendalltau(values[:, epoch], last).statistic,
                "kept": kept(values[:, epoch], last),
            }
            for name, values in found.items()
            for epoch in range(EPOCHS)
        ]
    )


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Draws Spearman's correlation and the share that is kept against the epoch."""
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
    panels[1, 0].set_ylabel("best tenth among\nthe third that goes on")
    panels[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Computes and draws."""
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
