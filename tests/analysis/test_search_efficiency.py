"""The replay's arithmetic, on a table that can be computed by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from grid import EPOCHS
from rank_correlation import correlations, kept_share
from search_efficiency import conclude, even_odds, searches, summary
from searches import Grid, Raysearch, read, replay

ANALYSIS = Path(__file__).parents[2] / "analysis"
ENCODERS = [(lr, size, lam) for lr in (1e-3, 1e-2) for size in (16, 32) for lam in (0.1, 1.0, 10.0)]


def frame() -> pd.DataFrame:
    """Make a table: encoder k of 12 scores 0.5 + 0.03 k with gmm from epoch 3, less with lof."""
    return pd.DataFrame(
        [
            {
                "lr": lr,
                "batch_size": size,
                "lambda": lam,
                "epoch": epoch,
                "val_machine_loss": 0.5,
                "val_product_loss": 0.5 - 0.01 * k,
                "inlier": inlier,
                "p": p,
                "val_score": None if p == 8 else 0.5 + (0.03 if epoch > 2 else -0.01) * k - less,
            }
            for k, (lr, size, lam) in enumerate(ENCODERS)
            for epoch in range(1, EPOCHS + 1)
            for inlier, p, less in (("gmm", 1, 0.0), ("gmm", 8, 0.0), ("lof", 1, 0.2))
        ]
    )


@pytest.fixture
def grid() -> Grid:
    return read(frame())


def test_a_table_is_read(grid: Grid) -> None:
    assert grid.settings == [("gmm", 1), ("gmm", 8), ("lof", 1)]
    assert grid.best == pytest.approx(0.5 + 0.03 * 11)
    assert grid.scores[ENCODERS[2]].shape == (EPOCHS, 3)
    assert np.isnan(grid.scores[ENCODERS[2]][:, 1]).all()
    assert grid.losses[ENCODERS[2]][0].tolist() == [0.5, 0.48]


@pytest.mark.parametrize("concurrent", [1, 4])
@pytest.mark.parametrize(
    "name", ["plain", "random", "grid", "sweep", "sweep+asha", "sweep+asha+warm"]
)
def test_every_search_is_replayed(grid: Grid, name: str, concurrent: int) -> None:
    curve = replay(searches(grid, [])[name](0), 0.8, concurrent)
    epochs, best = zip(*curve, strict=True)
    assert list(epochs) == sorted(epochs)
    assert list(best) == sorted(best)
    assert best[-1] >= 0.8
    if name in ("plain", "random", "grid", "sweep") and concurrent == 1:
        assert all(epoch % EPOCHS == 0 for epoch in epochs)


def test_raysearch_trains_no_encoder_twice_and_prunes_poor_trials(grid: Grid) -> None:
    sweep = replay(Raysearch(grid, 0, scheduler="none"), 2.0)
    assert sweep[-1][0] == EPOCHS * len(ENCODERS)
    assert sweep[-1][1] == pytest.approx(grid.best)
    asha = replay(Raysearch(grid, 0), 2.0)
    assert EPOCHS * len(ENCODERS) / 3 < asha[-1][0] < sweep[-1][0]


def test_the_summary_counts_failures_as_endless() -> None:
    rows = [("plain", s, e, b) for s, e, b in ((0, 90, 0.9), (1, 600, 0.9), (2, 6000, 0.5))]
    rows += [("ours", s, e, 0.9) for s, e in ((0, 30), (1, 60), (2, 45))]
    curves = pd.DataFrame(rows, columns=["search", "seed", "epochs", "best"])
    plain_row, raysearch_row = summary(curves, 0.8).to_dict("records")
    assert (plain_row["median"], plain_row["p90"], plain_row["plain_over_this"]) == (600, np.inf, 1)
    assert plain_row["found"] == pytest.approx(2 / 3)
    assert (raysearch_row["median"], raysearch_row["p90"], raysearch_row["found"]) == (45, 60, 1)
    assert raysearch_row["plain_over_this"] == pytest.approx(600 / 45)


def test_the_conclusion_says_whether_the_claim_is_met_and_if_not_why() -> None:
    rows = [("plain", 600.0, 1.0), ("ours", 60.0, 10.0)]
    result = pd.DataFrame(rows, columns=["search", "median", "plain_over_this"])
    [line] = conclude(result, 3, 48)
    assert "1/10 of plain's epochs: met, ours takes 1/10.0 (4.0 whole trainings" in line
    result["median"], result["plain_over_this"] = [600.0, 75.0], [1.0, 8.0]
    line, why = conclude(result, 3, 48)
    assert "not met, ours takes 1/8.0" in line
    assert "1/10 would be 4.0 trainings" in why
    assert "need 10 trainings" in why


@pytest.mark.parametrize(
    ("good", "total", "draws"), [(1, 2, 1), (1, 10, 5), (3, 48, 10), (5, 5, 1)]
)
def test_draws_for_even_odds(good: int, total: int, draws: int) -> None:
    assert even_odds(good, total) == draws
    # By hand: the chance that all draws miss.
    missed = 1.0
    for n in range(draws):
        missed *= (total - good - n) / (total - n)
    assert missed <= 0.5


def test_share_of_the_best_that_a_rung_keeps() -> None:
    last = np.arange(12.0)
    assert kept_share(last, last) == 1.0
    assert kept_share(-last, last) == 0.0


def test_correlations_follow_the_scores(grid: Grid) -> None:
    rows = correlations("valve", grid).set_index(["figure", "epoch"])
    assert rows.loc[("score", 3), "spearman"] == pytest.approx(1)
    assert rows.loc[("loss", 1), "kendall"] == pytest.approx(1)
    assert rows.loc[("highest score", EPOCHS), "kept"] == 1


@pytest.mark.slow  # A process for each, which finds its own modules.
@pytest.mark.parametrize(
    "program", ["grid.py", "rank_correlation.py", "scale.py", "search_efficiency.py"]
)
def test_every_program_shows_its_usage(program: str) -> None:
    command: list[str | Path] = [sys.executable, ANALYSIS / program, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"python analysis/{program}" in ended.stdout
