"""Members of the method `parallel` in a space file."""

from typing import Any

import pytest

from raysearch.errors import UserError
from raysearch.study.space import Space, check_space

SEARCH: dict[str, Any] = {
    "lr": [1e-3],
    "batch_size": [16, 32],
    "lambda": [1.0, 10.0],
    "inlier": {"gmm": [1]},
}


def parallel(**changes: Any) -> Space:
    content = {"search": SEARCH, "fixed": {"method": "parallel", "epochs": 4}}
    return check_space(content | changes, "x.yaml")


def test_there_are_five_members_without_a_word() -> None:
    space = parallel()
    assert list(space.members) == ["proposed", "serial_aam", "ddcsad", "autoencoder", "flow"]
    for name in space.members:
        member = space.member(name)
        assert (member.fixed.method, member.fixed.epochs) == (name, 4)
        assert member.search.batch_size == (16, 32)
        assert not member.members
    assert space.member("proposed").search.lam == (1.0, 10.0)
    assert space.member("flow").search.lam is None
    assert set(space.member("flow").search.inlier) == {"none"}
    assert {options.method for options in space.trial_options()} == set(space.members)


def test_a_member_differs_by_what_it_says() -> None:
    small = {"fixed": {"method": "serial", "embedding": 16}, "strategy": {"trials": 3}}
    sure = {"fixed": {"method": "proposed", "mixup": "off"}, "search": {"lambda": [0.1]}}
    space = parallel(members={"small": small, "sure": sure})
    assert space.member("small").fixed.embedding == 16
    assert space.member("small").strategy.trials == 3
    assert space.member("sure").strategy.trials == 50
    assert space.member("sure").search.lam == (0.1,)


def test_a_stored_space_is_the_same_space() -> None:
    space = parallel(weights="validation")
    stored = space.model_dump(mode="json", by_alias=True)
    assert check_space(stored, "study.json") == space


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed": {}, "members": {"a": {}}}, "x.yaml: members: only `method: parallel`"),
        ({"members": {"a": {"fixd": {}}}}, "members.a.fixd: unknown key"),
        ({"members": {"a/b": {}}}, "members.a/b: no name of a folder"),
        ({"members": {"a": {}}}, "members.a.fixed.method: a member has another method"),
        ({"members": {"a": {"fixed": {"method": "sereal"}}}}, "members.a.fixed.method"),
        ({"members": {"a": {"fixed": {"method": "serial", "hops": 2}}}}, "fixed.hops: unknown key"),
        ({"members": {"a": {"fixed": None}}}, "members.a.fixed: Input should be a valid dict"),
        ({"members": {"a": {"search": 3}}}, "members.a.search: Input should be a valid dict"),
        (
            {"members": {"a": {"fixed": {"method": ["serial"]}}}},
            "members.a.fixed.method: Input should",
        ),
        ({"members": [1]}, "x.yaml: members: Input should be a valid dict"),
        ({"weights": "best"}, "x.yaml: weights: "),
        ({"search": SEARCH | {"method": ["serial", "parallel"]}, "fixed": {}}, "search.method"),
    ],
)
def test_a_mistake_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parallel(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
