"""The jackknife over clips, against the plain way of doing it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.scoring.jackknife import (
    FEWEST_CLIPS,
    MOST_GROUPS,
    clip_score,
    counted_areas,
    few_clips,
    jackknife,
    satterthwaite,
)
from raysearch.scoring.metrics import ClipScores, auc_pauc, machine_score


@settings(max_examples=100, deadline=None)
@given(
    clips=st.lists(
        st.tuples(
            st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 1.0, 3.0, 7.5]), st.integers(0, 3)
        ),
        min_size=2,
        max_size=40,
    )
)
def test_areas_of_counted_clips_are_those_of_clips_repeated(
    clips: list[tuple[bool, float, int]],
) -> None:
    clips = [(False, 0.1, 1), (True, 0.2, 1), *clips]
    labels = np.array([int(label) for label, _, _ in clips], np.int64)
    scores = np.array([score for _, score, _ in clips])
    times = np.array([count for _, _, count in clips], np.int64)
    counts = np.stack([np.ones_like(times), times])
    auc, pauc = counted_areas(labels, scores, counts)
    for k, count in enumerate(counts):
        expected = auc_pauc(np.repeat(labels, count), np.repeat(scores, count))
        assert (auc[k], pauc[k]) == pytest.approx(expected, abs=1e-12)


def judged(seed: int, clips: int = 60, lead: float = 1.0) -> ClipScores:
    """Three IDs on which anomalies score higher by `lead` standard deviations."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1], np.int64), [clips, clips - 10])
    return {
        identity: (labels, generator.normal(size=labels.size) + lead * labels)
        for identity in ("0", "1", "2")
    }


def point(run: ClipScores) -> float:
    return machine_score({k: v[0] for k, v in run.items()}, {k: v[1] for k, v in run.items()}).hmean


def test_the_score_is_the_harmonic_mean() -> None:
    run = judged(3)
    assert clip_score(run) == pytest.approx(point(run), abs=1e-12)
    assert jackknife([run]).scores[0] == pytest.approx(point(run), abs=1e-12)


def test_the_variance_is_that_of_leaving_out_each_clip() -> None:
    run = judged(1, clips=25)
    variance = 0.0
    for identity, (labels, scores) in run.items():
        for label in (0, 1):
            without = []
            for clip in np.flatnonzero(labels == label):
                rest = np.arange(labels.size) != clip
                without.append(point({**run, identity: (labels[rest], scores[rest])}))
            count = len(without)
            variance += (count - 1) / count * np.sum((np.array(without) - np.mean(without)) ** 2)
    assert jackknife([run]).covariance[0, 0] == pytest.approx(variance, rel=1e-9)


def test_runs_are_paired() -> None:
    run = judged(1)
    same = {k: (labels, 3 * scores) for k, (labels, scores) in run.items()}
    result = jackknife([run, same, judged(2)])
    covariance = result.covariance
    assert covariance[0, 1] == pytest.approx(covariance[0, 0])
    assert abs(covariance[0, 2]) < covariance[0, 0] / 2
    np.testing.assert_allclose(covariance, covariance.T)


def test_many_clips_are_left_out_in_groups() -> None:
    many = judged(0, clips=3 * MOST_GROUPS)
    variance = jackknife([many]).covariance[0, 0]
    # The variance of a mean of six times as many clips is a sixth.
    few = [jackknife([judged(seed, clips=MOST_GROUPS // 2)]).covariance[0, 0] for seed in range(8)]
    assert variance == pytest.approx(np.mean(few) / 6, rel=0.25)


def test_a_perfect_run_may_yet_make_a_mistake() -> None:
    labels = np.repeat(np.array([0, 1], np.int64), 20)
    result = jackknife([{"0": (labels, labels + np.linspace(0, 0.1, 40))}])
    assert 0.98 < result.scores[0] < 1
    assert result.covariance[0, 0] > 0


def test_an_id_of_few_clips_is_seen() -> None:
    def run(normal: int, anomalous: int) -> ClipScores:
        labels = np.repeat(np.array([0, 1], np.int64), [normal, anomalous])
        return {"0": judged(0)["0"], "1": (labels, labels.astype(np.float64))}

    assert few_clips(run(FEWEST_CLIPS, FEWEST_CLIPS)) is None
    assert few_clips(run(2, 3)) == (2, 3)
    assert few_clips(run(50, FEWEST_CLIPS - 1)) == (50, FEWEST_CLIPS - 1)


def test_degrees_of_freedom_add_up_for_equal_variances() -> None:
    assert satterthwaite([1.0, 1.0], [4, 4]) == pytest.approx(8)
    assert satterthwaite([1.0, 0.0], [4, 100]) == pytest.approx(4)
    assert satterthwaite([0.0, 0.0], [4, 5]) == 9
