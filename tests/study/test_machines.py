"""The keys of a shared search in a space file, and one line for each mistake."""

from typing import Any

import pytest

from raysearch.errors import UserError
from raysearch.study.space import Space, check_space

CONTENT: dict[str, Any] = {
    "validation_machines": ["fan", "valve"],
    "test_machines": ["pump"],
    "search": {"lr": [1e-3], "batch_size": [32], "lambda": [1.0], "inlier": {"gmm": [1]}},
    "strategy": {"trials": 20},
}


def space(**changes: Any) -> Space:
    return check_space({**CONTENT, **changes}, "shared.yaml")


def test_the_product_ids_are_those_of_single_section_data_unless_they_are_named() -> None:
    assert (space().validation_ids, space().test_ids) == (("0",), ("0",))
    named = space(validation_ids=[0, 1], test_ids=["00", 2])
    assert named.validation_keys == ("fan/0", "fan/1", "valve/0", "valve/1")
    assert named.test_keys == ("pump/0", "pump/2")


def test_a_space_without_machine_types_is_as_it_was() -> None:
    plain = space(validation_machines=[], test_machines=[])
    assert not plain.is_shared
    assert (plain.validation_keys, plain.test_keys) == (("0", "1", "2"), ("3", "4", "5"))
    assert plain.scheduler == "asha"
    assert plain.machine_types == {}


def test_a_search_without_test_machines_has_nothing_to_test() -> None:
    assert space(test_machines=[]).test_keys == ()


def test_no_trial_is_pruned() -> None:
    assert space().scheduler == "none"
    assert space().rungs == frozenset()


def test_a_configuration_is_read_back_from_its_own_dump() -> None:
    content = space().model_dump(mode="json", by_alias=True)
    assert check_space(content, "study.json") == space()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validation_machines": []}, "test_machines: needs validation_machines"),
        ({"test_machines": ["fan"]}, "machine type fan is in validation_machines and in test_mach"),
        ({"validation_machines": ["fan", "fan"]}, "validation_machines: .*fan is named twice"),
        (
            {"validation_machines": ["a/b", "fan"]},
            "'a/b' is no machine type",
        ),
        ({"test_machines": [""]}, "test_machines: .*'' is no machine type"),
        ({"test_machines": "pump"}, "test_machines: "),
        (
            {"validation_machines": ["fan"]},
            "`method: proposed` trains on other .*two or more",
        ),
        (
            {"fixed": {"method": "parallel"}, "members": {}},
            "validation_machines: `method: parallel`",
        ),
        ({"strategy": {"scheduler": "asha"}}, "strategy.scheduler: asha cannot prune a shared"),
        ({"strategy": {"warm_start": "paper"}}, "strategy.warm_start: the paper has no config"),
    ],
)
def test_a_mistake_is_told_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        space(**changes)
    assert str(caught.value).startswith("shared.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_method_without_other_machine_types_may_have_a_single_one() -> None:
    search = {"lr": [1e-3], "batch_size": [32], "inlier": {"gmm": [1]}}
    single = space(validation_machines=["fan"], search=search, fixed={"method": "serial"})
    assert single.validation_keys == ("fan/0",)
