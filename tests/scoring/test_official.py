"""Official scores by hand; tests/study/test_official.py compares with the evaluators' rules."""

import sys

import numpy as np
import pytest

from raysearch.scoring.official import (
    LabelledClips,
    OfficialResult,
    OfficialScores,
    detection,
    official_mean,
    official_scores,
)

Row = tuple[str, int, float]
"""Domain, label and score."""


def clips(*rows: Row, threshold: float = 0.5) -> LabelledClips:
    domains, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    values = np.array(scores, float)
    return LabelledClips(
        np.array(domains, str),
        np.array(labels, np.int64),
        values,
        (values > threshold).astype(np.int64),
    )


SOURCE: list[Row] = [("source", 0, 0.1), ("source", 0, 0.2), ("source", 1, 0.8), ("source", 1, 0.9)]
# The target's normal clips score above the anomalies of the source.
TARGET: list[Row] = [("target", 0, 1.1), ("target", 0, 1.2), ("target", 1, 1.8), ("target", 1, 1.9)]


def test_each_domain_by_itself_is_perfect_and_both_together_are_not() -> None:
    scores = official_scores("3", clips(*SOURCE, *TARGET))
    assert scores.values(["source_auc", "source_pauc", "target_auc", "target_pauc"]) == [1] * 4
    assert scores.official_2021 == pytest.approx(1)
    # Of the 8 pairs of a normal target clip and an anomaly, the 4 with one of the source are wrong.
    assert (scores.smix_auc, scores.tmix_auc) == (1, 0.5)
    # Half of the anomalies are above all normal clips: A = 0.05.
    assert scores.mix_pauc == pytest.approx((1 + 0.045 / 0.095) / 2)
    assert scores.official_2022 == pytest.approx(3 / (1 + 2 + 19 / 14))
    assert scores.values(["source_precision", "source_recall", "source_f1"]) == [1] * 3
    # All clips of the target domain are called anomalous.
    expected = pytest.approx([0.5, 1, 2 / 3])
    assert scores.values(["target_precision", "target_recall", "target_f1"]) == expected


def test_precision_recall_and_f1_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    decisions = np.array([1, 0, 0, 1, 1, 1, 0])
    assert detection(labels, decisions) == pytest.approx((3 / 4, 3 / 4, 3 / 4))
    assert detection(labels, np.zeros(7)) == (0, 0, 0)
    assert detection(labels, np.ones(7)) == pytest.approx((4 / 7, 1, 8 / 11))


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_without_both_kinds_there_is_no_f1(labels: list[int]) -> None:
    assert detection(np.array(labels), np.ones(len(labels))) is None


def test_a_mean_with_a_zero_is_as_small_as_that_of_the_evaluators() -> None:
    assert official_mean([0.0, 0.5]) == pytest.approx(2 * sys.float_info.epsilon, rel=1e-6)
    assert official_mean([0.4, 0.4]) == pytest.approx(0.4)


def test_an_id_of_one_domain_has_no_mixed_score() -> None:
    scores = official_scores("3", clips(*SOURCE), "no target clips")
    assert (scores.source_auc, scores.target_auc) == (1, None)
    assert scores.values(["smix_auc"]) is None
    assert (scores.official_2021, scores.official_2022) == (None, None)
    assert scores.has_value


def test_normal_clips_alone_in_a_domain_leave_the_mixed_score() -> None:
    scores = official_scores("3", clips(*SOURCE, *TARGET[:2]))
    assert (scores.target_auc, scores.target_f1, scores.official_2021) == (None, None, None)
    assert (scores.smix_auc, scores.tmix_auc) == (1, 0)
    assert scores.official_2022 is not None


def test_anomalies_alone_in_a_domain_leave_no_official_score() -> None:
    scores = official_scores("3", clips(*SOURCE, *TARGET[2:]))
    assert (scores.smix_auc, scores.tmix_auc, scores.mix_pauc) == (1, None, 1)
    assert (scores.official_2021, scores.official_2022) == (None, None)


def test_without_clips_there_is_nothing() -> None:
    assert official_scores("3", clips()) == OfficialScores("3")
    assert not OfficialScores("3", note="no source clips").has_value


def test_the_mean_says_which_ids_it_leaves_out() -> None:
    both = official_scores("3", clips(*SOURCE, *TARGET))
    alone = official_scores("4", clips(*SOURCE, *TARGET[:2]), "reason")
    mean = OfficialResult((both, alone)).mean
    assert mean.official_2021 == both.official_2021
    assert mean.note == "score of 2021 over 1 of 2 test IDs; ID 4: reason"
    assert mean.tmix_auc == pytest.approx(2 / (2 + 1 / sys.float_info.epsilon))
    assert OfficialResult((both, both)).mean.note == ""
