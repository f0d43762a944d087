"""The spaces of the paper's systems, from the space of a user."""

from typing import Any, get_args

import pytest

from raysearch.errors import UserError
from raysearch.storage import to_path
from raysearch.study.space import Space
from raysearch.study.systems import SYSTEMS, System, Target, system_folder, system_space
from tests.records import make_space

SEARCHED = {
    system.name: system for row in SYSTEMS.values() for system in row if not system.encoder_of
}
INLIERS: dict[str, Any] = {"gmm": [1, 2], "none": []}


def options(system: System) -> set[tuple[str, str, bool]]:
    space = system_space(make_space(inlier=INLIERS), system, 0)
    return {(each.method, each.mixup, each.machine_loss) for each in space.trial_options()}


def test_every_target_has_systems() -> None:
    assert set(SYSTEMS) == set(get_args(Target))
    names = [[system.name for system in SYSTEMS[target]] for target in ("table2", "table3")]
    assert names[0] == ["parallel", "serial", "ddcsad", "proposed"]
    assert names[1] == ["proposed", "without-mixup", "without-h", "only-product-ids"]


def test_a_system_differs_by_what_the_paper_says() -> None:
    assert options(SEARCHED["proposed"]) == {("proposed", "constant", True)}
    assert options(SEARCHED["without-mixup"]) == {("proposed", "off", True)}
    assert options(SEARCHED["only-product-ids"]) == {("proposed", "constant", False)}
    assert {method for method, _, _ in options(SEARCHED["serial"])} == {"serial"}
    assert {method for method, _, _ in options(SEARCHED["parallel"])} == {
        *("proposed", "serial_aam", "ddcsad", "autoencoder", "flow")
    }


@pytest.mark.parametrize("name", SEARCHED)
def test_dimensions_without_effect_are_left_out(name: str) -> None:
    space = system_space(make_space(inlier=INLIERS), SEARCHED[name], 0)
    has_lam = name in ("proposed", "without-mixup", "parallel")
    assert (space.search.lam is not None) == has_lam
    assert space.search.lr is not None
    inliers = set(space.search.inlier)
    assert inliers == ({"none"} if name == "ddcsad" else {"gmm"})


def test_repetitions_have_other_seeds_and_folders() -> None:
    space = make_space(strategy={"seed": 3})
    proposed = SEARCHED["proposed"]
    assert [system_space(space, proposed, seed).strategy.seed for seed in (0, 2)] == [3, 5]
    out = to_path("runs")
    names = [system_folder(out, "proposed", "valve", seed).name for seed in (0, 2)]
    assert names == ["proposed-valve", "proposed-seed2-valve"]


def test_a_space_without_an_inlier_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"search\.inlier: the paper's systems need"):
        system_space(make_space(inlier={"none": []}), SEARCHED["proposed"], 0)


def test_a_space_that_lacks_what_a_system_needs_is_refused() -> None:
    content = make_space(inlier=INLIERS).model_dump(mode="json", by_alias=True)
    del content["search"]["lambda"]
    serial = Space.model_validate(content | {"fixed": {"method": "serial"}})
    assert system_space(serial, SEARCHED["serial"], 0).search.lam is None
    with pytest.raises(UserError, match=r"the space of proposed: search\.lambda: Field required"):
        system_space(serial, SEARCHED["proposed"], 0)


def test_members_of_ones_choice_are_the_parallel_system() -> None:
    content = make_space(inlier=INLIERS).model_dump(mode="json", by_alias=True)
    members = {name: {"fixed": {"method": name}} for name in ("proposed", "flow")}
    changed = {"fixed": {"method": "parallel"}, "members": members, "weights": "validation"}
    space = system_space(Space.model_validate(content | changed), SEARCHED["parallel"], 0)
    assert (list(space.members), space.weights) == (["proposed", "flow"], "validation")
    proposed = system_space(Space.model_validate(content | changed), SEARCHED["proposed"], 0)
    assert not proposed.members


def test_a_searched_option_that_a_system_fixes_is_not_searched() -> None:
    space = make_space(inlier=INLIERS, mixup=["constant", "off"])
    assert "mixup" in system_space(space, SEARCHED["proposed"], 0).search.options
    assert "mixup" not in system_space(space, SEARCHED["without-mixup"], 0).search.options
    assert "mixup" not in system_space(space, SEARCHED["serial"], 0).search.options
