"""The only configuration of a search that no score can judge."""

from typing import Any

import pytest

from raysearch.errors import UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.search.single import single_configuration
from raysearch.search.warm_start import WarmStart
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from tests.records import SPACE, make_space

ALONE: dict[str, Any] = {"lr": 2e-3, "batch_size": 32, "lambda": 1.0, "inlier": {"gmm": [2]}}
OTHER = WarmStart(Configuration(5e-3, 100, 3.0), "runs/fan trial 3", InlierSpec("gmm", 3))


def space(*, strategy: dict[str, Any] | None = None, **search: Any) -> Space:
    content = {"search": {**SPACE["search"], **search}, "strategy": strategy or {}}
    return Space.model_validate({**content, "validation_ids": []})


def single(space: Space, *starts: WarmStart, machine: str = "valve") -> Space:
    return single_configuration(space, machine, starts, "mine.yaml")


def test_a_space_with_labels_stays_as_it_is() -> None:
    assert single(make_space()) == make_space()


def test_a_single_configuration_has_neither_rivals_nor_rungs() -> None:
    strategy = {"trials": 20, "scheduler": "asha", "finalists": {"top": 2}, "patience": 3}
    alone = single(space(strategy=strategy, **ALONE))
    assert alone.search == space(**ALONE).search
    assert (alone.strategy.trials, alone.strategy.patience) == (1, None)
    assert (alone.rungs, alone.finalists) == (frozenset(), None)
    assert single(alone) == alone


@pytest.mark.parametrize(
    "search",
    [{}, {**ALONE, "batch_size": [32, 64]}, {**ALONE, "inlier": {"gmm": [1, 2]}}],
    ids=["ranges", "two encoders", "two models"],
)
def test_several_configurations_are_refused_with_all_ways_out(search: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="several configurations") as refused:
        single(space(**search))
    for way in ("mine.yaml: validation_ids: []", "one value", "warm_start: paper", "--warm-start"):
        assert way in str(refused.value)


def test_table_one_chooses_and_is_moved_to_the_nearest_values() -> None:
    chosen = single(space(strategy={"warm_start": "paper"}), OTHER).search
    assert (chosen.lr, chosen.batch_size, chosen.lam) == ((5e-4,), (128,), (10.0,))
    assert chosen.specs == (InlierSpec("gmm", 4),)  # 32 in the paper
    with pytest.raises(UserError, match="Table I has no press"):
        single(space(strategy={"warm_start": "paper"}), machine="press")


def test_a_warm_start_chooses() -> None:
    worse = WarmStart(Configuration(1e-3, 32, 1.0), "runs/fan trial 4", InlierSpec("lof", 4))
    chosen = single(space(), OTHER, worse).search
    assert (chosen.lr, chosen.batch_size, chosen.lam) == ((5e-3,), (128,), (1.0,))
    assert chosen.specs == (InlierSpec("gmm", 4),)


def test_an_inlier_model_that_the_space_lacks() -> None:
    kde = WarmStart(OTHER.configuration, OTHER.origin, InlierSpec("kde", 1.0))
    assert single(space(inlier={"lof": [8]}), kde).search.specs == (InlierSpec("lof", 8),)
    with pytest.raises(UserError, match="no kde of the configuration from runs"):
        single(space(), kde)
    none = WarmStart(OTHER.configuration, OTHER.origin, InlierSpec("none", None))
    assert single(space(), none).search.specs == (InlierSpec("none", None),)


def test_a_method_without_a_dimension_loses_it() -> None:
    serial = WarmStart(
        Configuration(5e-3, 64, None, (("method", "serial"),)), "runs/fan trial 1", OTHER.inlier
    )
    chosen = single(space(method=["proposed", "serial"]), serial)
    assert (chosen.search.lam, chosen.search.options) == (None, {"method": ("serial",)})
