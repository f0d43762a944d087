"""Optuna's charts over rows, with all five hyperparameters."""

from typing import Any

import numpy as np
import pytest

from raysearch.report.html.optuna_charts import (
    Row,
    build_study,
    log_ticks,
    plot_importances,
    plot_parallel,
    plot_scores,
    scored_rows,
    thin,
    varying,
)
from tests import runs
from tests.records import make_space

HYPERPARAMETERS = ("lr", "batch_size", "lambda", "inlier", "p")
SPACE = make_space()
ROWS = scored_rows([record for record in runs.records() if record.proposal.rerun_of is None])


def test_a_row_is_an_encoder_with_one_inlier_model_and_p() -> None:
    assert len(ROWS) == 6 * 6  # of eight trials one was pruned and one failed
    assert {tuple(row.params) for row in ROWS} == {HYPERPARAMETERS, HYPERPARAMETERS[:4]}
    assert varying(ROWS) == list(HYPERPARAMETERS)


def test_the_study_has_a_trial_for_each_row() -> None:
    trials = build_study(ROWS, SPACE).trials
    assert [trial.value for trial in trials] == [row.score for row in ROWS]
    assert [trial.params for trial in trials] == [row.params for row in ROWS]


def test_importances_tell_what_scores_follow_from() -> None:
    rng = np.random.default_rng(0)
    rows = [
        Row(
            row.params,
            {32: 0.5, 64: 0.6, 128: 0.8}[row.params["batch_size"]] + rng.uniform(0, 0.01),
        )
        for row in ROWS
    ]
    [bar] = plot_importances(rows, SPACE).data
    assert sorted(bar.y) == sorted(HYPERPARAMETERS)
    assert dict(zip(bar.y, bar.x, strict=True))["batch_size"] > 0.8
    assert sum(bar.x) == pytest.approx(1.0)


def test_what_a_method_lacks_is_not_taken_for_its_effect() -> None:
    """Only the method decides, and one of two methods has a batch size."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        trained = number % 2 == 0
        method = "serial" if trained else "baseline"
        params: dict[str, Any] = {"method": method, "inlier": "none"}
        if trained:
            params |= {"batch_size": int(rng.choice([16, 32, 64]))}
        rows.append(Row(params, 0.5 + 0.3 * trained + rng.uniform(0, 0.01)))
    space = make_space(method=["proposed", "serial", "baseline"], batch_size=[16, 32, 64])
    [bar] = plot_importances(rows, space).data
    shares = dict(zip(bar.y, bar.x, strict=True))
    assert shares["method"] > 0.8
    lines = plot_parallel(build_study(rows, space))
    texts = {annotation.text for annotation in lines.layout.annotations}
    assert {"serial", "baseline", "–"} <= texts


def test_importances_are_the_same_each_time() -> None:
    assert plot_importances(ROWS, SPACE) == plot_importances(ROWS, SPACE)


def test_the_best_lines_are_drawn_last() -> None:
    heights = [line.y[0] for line in plot_parallel(build_study(ROWS, SPACE)).data]
    assert len(heights) == len(ROWS)
    assert heights == sorted(heights)


def test_what_has_no_p_is_called_so() -> None:
    texts = [
        annotation.text for annotation in plot_parallel(build_study(ROWS, SPACE)).layout.annotations
    ]
    assert "–" in texts
    assert "None" not in texts
    assert not [text for text in texts if text.endswith(".0")]


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_a_slice_holds_every_row_that_has_the_value(name: str) -> None:
    [dots] = plot_scores(build_study(ROWS, SPACE), name).data
    assert len(dots.x) == sum(name in row.params for row in ROWS)


def test_a_single_value_is_no_hyperparameter() -> None:
    rows = [Row(row.params | {"lr": 1e-3}, row.score) for row in ROWS]
    assert "lr" not in varying(rows)
    [bar] = plot_importances(rows, SPACE).data
    assert "lr" not in bar.y


def test_thinning_keeps_the_best_and_the_worst() -> None:
    few = thin(ROWS, 5)
    scores = sorted(row.score for row in ROWS)
    assert len(few) == 5
    assert (few[0].score, few[-1].score) == (scores[0], scores[-1])
    assert thin(ROWS, 1000) == ROWS


def test_ticks_of_a_logarithm_are_few_and_round() -> None:
    assert log_ticks(5e-4, 1e-2) == [5e-4, 1e-3, 2e-3, 5e-3, 1e-2]
    assert log_ticks(2.44e-3, 2.59e-3) == [2.44e-3, 2.59e-3]
    assert log_ticks(1e-6, 1e-1) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
