"""Division of training clips into those that train and those that validate."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.data.split import split_clips


@pytest.mark.parametrize("share", [0.1, 0.25])
@pytest.mark.parametrize("per_id", [20, 1000])
def test_the_split_takes_its_exact_share_of_every_id(share: float, per_id: int) -> None:
    ids = [str(n % 6) for n in range(6 * per_id)]
    train, validation = split_clips(ids, share, seed=0)
    assert sorted([*train, *validation]) == list(range(len(ids)))
    assert Counter(ids[n] for n in validation) == {str(i): round(share * per_id) for i in range(6)}


@given(
    ids=st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=80),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_no_id_is_left_without_training_clips(ids: list[str], share: float, seed: int) -> None:
    train, validation = split_clips(ids, share, seed)
    assert sorted([*train, *validation]) == list(range(len(ids)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    assert {ids[n] for n in train} == set(ids)
    assert {ids[n] for n in validation} == {i for i, count in Counter(ids).items() if count > 1}


def test_the_split_follows_from_the_seed() -> None:
    ids = [str(n % 3) for n in range(300)]
    validation = [split_clips(ids, 0.1, seed)[1].tolist() for seed in (0, 0, 1)]
    assert validation[0] == validation[1] != validation[2]


def test_the_split_is_drawn_over_all_clips() -> None:
    validation = {int(n) for seed in range(60) for n in split_clips(["A"] * 20, 0.1, seed)[1]}
    assert validation == set(range(20))


def test_recordings_are_not_cut_by_the_held_out_split() -> None:
    ids = ["0"] * 100 + ["1"] * 30
    recordings = [f"r{n // 10}" for n in range(100)] + [f"r{n // 15}" for n in range(30)]
    for seed in range(20):
        train, validation = split_clips(ids, 0.2, seed, recordings)
        assert sorted([*train, *validation]) == list(range(130))
        sides = [{(ids[k], recordings[k]) for k in part.tolist()} for part in (train, validation)]
        assert not sides[0] & sides[1]
        assert sum(ids[k] == "0" for k in validation.tolist()) == 20
        assert sum(ids[k] == "1" for k in validation.tolist()) == 15


def test_recordings_of_one_clip_or_one_recording_change_no_split() -> None:
    ids = ["0", "1"] * 50
    plain = split_clips(ids, 0.1, 3)
    for recordings in ([f"{n}.wav" for n in range(100)], ["press"] * 100):
        for left, right in zip(plain, split_clips(ids, 0.1, 3, recordings), strict=True):
            np.testing.assert_array_equal(left, right)
