"""bench_parts/sweep.py: a sweep and scikit-learn's loop give the same."""

import numpy as np
import pytest
from bench_parts.sweep import (
    SETTINGS,
    Sizes,
    auc_difference,
    make_embeddings,
    our_sweep,
    sweep_duel,
)

from raysearch.scoring.spec import InlierSpec
from raysearch.study.space_files import load_space, shipped_folder

TINY = Sizes(ids=2, judged=1, fitted=10, tested=20, segments=7, dim=40)


def test_both_sides_have_the_same_auc() -> None:
    assert auc_difference(TINY) < 1e-6


def test_the_settings_are_those_of_the_default_space() -> None:
    assert load_space(shipped_folder() / "default.yaml").search.specs == SETTINGS


def test_anomalies_are_neither_plain_nor_hidden() -> None:
    areas = our_sweep(make_embeddings(Sizes(ids=1, judged=1, tested=60)))
    judged = [areas[InlierSpec(name, p), "0"] for name, p in (("gmm", 1), ("lof", 4))]
    assert all(0.55 < area < 0.95 for area in judged), judged


def test_embeddings_are_the_same_each_time() -> None:
    first, second = make_embeddings(TINY), make_embeddings(TINY)
    np.testing.assert_array_equal(first.tests["0"], second.tests["0"])
    assert [*first.fits] == ["0", "1"]
    assert first.fits["1"].shape == (70, 40)


def test_a_side_gives_the_auc_of_each_setting_and_judged_id() -> None:
    duel = sweep_duel(TINY)
    assert duel.amount == 2 * len(SETTINGS)
    plain, fast = duel.plain(), duel.raysearch()
    assert isinstance(plain, dict)
    assert isinstance(fast, dict)
    assert plain.keys() == fast.keys() == {(spec, "0") for spec in SETTINGS}
    assert fast == pytest.approx(plain, abs=1e-6)
