from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from raysearch.scoring.metrics import MachineScore, auc_pauc, harmonic_mean, machine_score

# A busy machine fails no test, and every run sees the same examples.
calm = settings(deadline=None, derandomize=True)

Labelled = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Labels (N,) and scores (N,)."""


@st.composite
def labelled_scores(draw: st.DrawFn) -> Labelled:
    """Both classes, scores on a coarse grid so that ties occur."""
    size = draw(st.integers(2, 40))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    assume(0 < labels.sum() < size)
    grid = draw(st.lists(st.integers(-20, 20), min_size=size, max_size=size))
    return labels, np.array(grid, dtype=float) / 4


def reference(
    labels: NDArray[np.int64], scores: NDArray[np.float64], max_fpr: float
) -> tuple[float, float]:
    """AUC by counting pairs; pAUC by the trapezoids of the ROC curve and McClish's formula."""
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    auc = float(np.mean([(a > n) + (a == n) / 2 for a in anomalous for n in normal]))
    points = [(0.0, 0.0)]
    points += [
        (float(np.mean(normal >= threshold)), float(np.mean(anomalous >= threshold)))
        for threshold in sorted(set(scores), reverse=True)
    ]
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        end = min(x1, max_fpr)
        if end > x0:
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    least = max_fpr**2 / 2
    return auc, (1 + (area - least) / (max_fpr - least)) / 2


def test_hand_worked_case() -> None:
    # Of the four pairs (anomalous, normal) three are in order. Up to a false-positive rate of
    # 0.1 half of the anomalies are found: A = 0.05, pAUC = (1 + (0.05 - 0.005) / 0.095) / 2.
    auc, pauc = auc_pauc(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9]))
    assert auc == pytest.approx(0.75, abs=1e-12)
    assert pauc == pytest.approx((1 + 0.045 / 0.095) / 2, abs=1e-12)


def test_perfect_inverted_and_tied_scores() -> None:
    labels = np.array([0, 0, 1, 1])
    # Inverted, the partial area is 0, which McClish's formula puts at (1 - 0.005 / 0.095) / 2.
    assert auc_pauc(labels, np.array([1, 2, 3, 4])) == (1.0, 1.0)
    assert auc_pauc(labels, np.array([4, 3, 2, 1])) == pytest.approx((0.0, 9 / 19))
    assert auc_pauc(labels, np.zeros(4)) == pytest.approx((0.5, 0.5))


@calm
@given(labelled_scores(), st.sampled_from([0.05, 0.1, 0.5, 1.0]))
def test_agrees_with_counting_pairs_and_trapezoids(data: Labelled, max_fpr: float) -> None:
    labels, scores = data
    auc, pauc = reference(labels, scores, max_fpr)
    # Without a bound the partial area is the whole one, which stays as it is.
    expected = (auc, auc if max_fpr == 1.0 else pauc)
    assert auc_pauc(labels, scores, max_fpr) == pytest.approx(expected, abs=1e-9)


@calm
@given(labelled_scores(), st.sampled_from([0.05, 0.1, 0.5, 1.0]))
def test_agrees_with_scikit_learn_bit_for_bit(data: Labelled, max_fpr: float) -> None:
    expected = roc_auc_score(*data), roc_auc_score(*data, max_fpr=max_fpr)
    assert auc_pauc(*data, max_fpr) == expected


@calm
@given(labelled_scores())
def test_only_the_order_of_scores_counts(data: Labelled) -> None:
    labels, scores = data
    expected = pytest.approx(auc_pauc(labels, scores), abs=1e-12)
    assert auc_pauc(labels, np.exp(scores)) == expected
    assert auc_pauc(labels, 3 * scores - 7) == expected
    assert auc_pauc(labels[::-1], scores[::-1]) == expected


@calm
@given(labelled_scores())
def test_flipping_labels_or_scores_mirrors_the_auc(data: Labelled) -> None:
    labels, scores = data
    auc, pauc = auc_pauc(labels, scores)
    assert auc_pauc(1 - labels, scores)[0] == pytest.approx(1 - auc, abs=1e-12)
    assert auc_pauc(labels, -scores)[0] == pytest.approx(1 - auc, abs=1e-12)
    assert auc_pauc(1 - labels, -scores)[0] == pytest.approx(auc, abs=1e-12)
    assert 9 / 19 - 1e-12 <= pauc <= 1 + 1e-12


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [1.0, 2.0], "has 2 normal and 0 anomalous"),
        ([1, 1], [1.0, 2.0], "has 0 normal and 2 anomalous"),
        ([], [], "has 0 normal and 0 anomalous"),
        ([0, 1], [1.0, np.nan], "1 scores are not finite"),
        ([0, 1], [np.inf, 1.0], "1 scores are not finite"),
        ([0, 1, 1], [1.0, 2.0], r"must both be \(N,\)"),
        ([0, 2], [1.0, 2.0], "0 .normal. or 1"),
    ],
)
def test_refuses_what_has_no_auc(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auc_pauc(np.array(labels), np.array(scores))


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.5])
def test_refuses_a_false_positive_rate_outside_of_the_curve(max_fpr: float) -> None:
    with pytest.raises(ValueError, match="max_fpr"):
        auc_pauc(np.array([0, 1]), np.array([0.0, 1.0]), max_fpr)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.5], 0.5), ([1, 0.5], 2 / 3), ([1, 2, 4], 12 / 7), ([0.9, 0.0], 0.0), ([5e-324, 1], 0.0)],
)
def test_harmonic_mean_by_hand(values: list[float], expected: float) -> None:
    assert harmonic_mean(values) == pytest.approx(expected, abs=1e-15)


def test_harmonic_mean_gives_the_all_column_of_table_ii() -> None:
    proposed = [84.35, 68.42, 71.60, 65.03, 83.97, 62.08, 58.83]
    assert round(harmonic_mean(proposed), 2) == 69.42


@calm
@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=20), st.floats(0.1, 10))
def test_harmonic_mean_properties(values: list[float], factor: float) -> None:
    mean = harmonic_mean(iter(values))
    assert min(values) - 1e-12 <= mean <= np.mean(values) + 1e-12
    assert harmonic_mean(factor * v for v in values) == pytest.approx(factor * mean)
    assert harmonic_mean(reversed(values)) == pytest.approx(mean)


@pytest.mark.parametrize("values", [[], [0.5, -0.1], [0.5, np.nan], [np.inf]])
def test_harmonic_mean_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match="harmonic mean"):
        harmonic_mean(values)


def test_machine_score_judges_each_id_by_itself() -> None:
    labels = {"02": np.array([0, 1, 0, 1]), "00": np.array([0, 0, 1])}
    # The scores of ID 00 lie far above those of ID 02, which must not matter.
    scores = {"00": np.array([100.0, 101, 102]), "02": np.array([0.1, 0.3, 0.5, 0.9])}
    score = machine_score(labels, scores)
    assert list(score.per_id) == ["00", "02"]
    assert score.per_id["00"] == (1.0, 1.0)
    assert score.per_id["02"] == pytest.approx((0.75, 14 / 19))
    assert score.hmean == pytest.approx(4 / (1 + 1 + 4 / 3 + 19 / 14))


def test_hmean_of_a_machine_is_zero_where_one_id_is_inverted() -> None:
    assert MachineScore({"00": (0.9, 0.8), "01": (0.0, 9 / 19)}).hmean == 0.0


def test_machine_score_names_the_id_that_cannot_be_judged() -> None:
    labels = {"00": np.array([0, 1]), "07": np.array([0, 0])}
    scores = {"00": np.array([0.0, 1.0]), "07": np.array([0.0, 1.0])}
    with pytest.raises(ValueError, match=r"ID 07: .* 0 anomalous"):
        machine_score(labels, scores)


def test_machine_score_refuses_ids_that_differ() -> None:
    with pytest.raises(ValueError, match=r"\['00'\].*\['01'\]"):
        machine_score({"00": np.array([0, 1])}, {"01": np.array([0.0, 1.0])})


def test_an_auc_of_zero_is_remarked() -> None:
    score = MachineScore({"0": (0.9, 0.8), "3": (0.0, 0.48)})
    assert score.hmean == 0
    assert score.remark == "the AUC of ID 3 is 0, which makes the score 0"
    assert MachineScore({"0": (0.9, 0.8)}).remark == ""


def test_the_official_evaluator_comes_as_near_to_zero() -> None:
    from scipy.stats import hmean

    values = np.array([0.9, 0.8, 0.0, 0.48])
    official = hmean(np.maximum(values, np.finfo(float).eps))
    assert harmonic_mean(values) == pytest.approx(float(official), abs=1e-14)
