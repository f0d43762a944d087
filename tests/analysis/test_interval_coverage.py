"""interval_coverage.py: its truths, and the whole program with few repeats."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from interval_coverage import distances, main, share, simulate, true_scores

from raysearch.scoring.metrics import auc_pauc, harmonic_mean


def test_true_scores_are_those_of_very_many_clips() -> None:
    shifts = distances((0.6, 0.9))
    [run] = simulate(shifts[None], 200_000, np.random.default_rng(0))
    areas = [auc_pauc(*pair) for pair in run.values()]
    assert areas[0][0] == pytest.approx(0.6, abs=0.005)
    score = harmonic_mean(area for pair in areas for area in pair)
    assert float(true_scores(shifts)) == pytest.approx(score, abs=0.005)


def test_encoders_agree_on_clips_as_told() -> None:
    runs = simulate(np.zeros((2, 1)), 50_000, np.random.default_rng(0), agreement=0.3)
    scores = [run["0"][1] for run in runs]
    assert float(np.mean(scores[0] * scores[1])) == pytest.approx(0.3, abs=0.02)


def test_a_missing_interval_holds_nothing() -> None:
    assert share([(0.1, 0.5), (0.6, 0.7), None, (0.5, 0.6)], 0.5) == 0.5


@pytest.mark.slow
def test_the_program_measures_all_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path), "--repeats", "3"])
    table = pd.read_csv(tmp_path / "interval_coverage.csv")
    assert set(table["figure"]) == {"clips", "seeds", "leads", "search"}
    assert (table["value"][table["seeds"] == 1][table["figure"] == "leads"] == 0).all()
    assert "AUC 0.9, 0.9, 0.9" in capsys.readouterr().out
