"""Space files: their meaning, and one line for each mistake."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.config import Options
from raysearch.errors import UserError
from raysearch.scoring.inlier import INLIERS, InlierSpec
from raysearch.study.searched import Range
from raysearch.study.space import check_space
from raysearch.study.space_files import find_space, load_space
from raysearch.study.strategy import Finalists, Strategy

SHIPPED = Path(__file__).parents[2] / "search_spaces"

EXAMPLE = """
method: proposed
validation_ids: [0, 1, 2]
test_ids: [3, 4, 5]
search:
  lr: {low: 1.0e-4, high: 3.0e-3, log: true}
  batch_size: [32, 64, 128]
  lambda: [0.1, 1.0, 10.0]
  inlier:                      # inlier model: its values of p
    gmm: [1, 2, 4, 8, 16, 32, 64]
    lof: [1, 2, 4, 8, 16, 32, 64]
fixed: {epochs: 300, backbone: tf_efficientnet_b0.ns_jft_in1k, pretrained: true}
strategy: {trials: 50, inlier: sweep, sampler: tpe, seed: 0}
"""


def example(**search: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(EXAMPLE)
    content["search"] |= search
    return content


def test_the_documented_example_means_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "valve.yaml"
    path.write_text(EXAMPLE)
    space = load_space(path)
    assert (space.validation_ids, space.test_ids) == (("0", "1", "2"), ("3", "4", "5"))
    assert space.search.lr == Range(low=1e-4, high=3e-3, log=True)
    assert space.search.batch_size == (32, 64, 128)
    assert space.search.lam == (0.1, 1.0, 10.0)
    powers = [1, 2, 4, 8, 16, 32, 64]
    assert space.search.specs == tuple(InlierSpec(h, p) for h in ("gmm", "lof") for p in powers)
    assert space.fixed == Options()
    assert space.strategy == Strategy()
    assert (space.scheduler, space.finalists) == ("asha", Finalists(top=3, seeds=3))
    assert space.rungs == {180}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, (0.5,)),
        (2, (2,)),
        ([0.5, 1], (0.5, 1)),
        ([1, 1.0, 2], (1, 2)),
        ({"low": 0.5, "high": 1}, Range(low=0.5, high=1.0)),
        ({"low": 0.5, "high": 1, "log": True}, Range(low=0.5, high=1.0, log=True)),
    ],
)
@pytest.mark.parametrize(("key", "name"), [("lr", "lr"), ("lambda", "lam")])
def test_a_scalar_fixes_a_list_chooses_a_range_samples(
    key: str, name: str, value: Any, expected: Any
) -> None:
    assert getattr(check_space(example(**{key: value}), "x").search, name) == expected


@pytest.mark.parametrize(
    ("strategy", "epochs", "rungs"),
    [
        ({}, 300, {180}),
        ({}, 15, {9}),
        ({"grace": 3}, 28, {3, 9, 27}),
        ({"grace": 3}, 27, {3, 9}),
        ({"grace": 20}, 15, set()),
        ({"scheduler": "hyperband", "grace": 2}, 18, {2, 6}),
        ({"scheduler": "median", "grace": 5}, 20, {5, 10, 15}),
        ({"scheduler": "none"}, 300, set()),
        ({"trials": 7}, 300, set()),
        ({"trials": 7, "scheduler": "asha"}, 2, {1}),
    ],
)
def test_rungs(strategy: dict[str, Any], epochs: int, rungs: set[int]) -> None:
    content = example() | {"fixed": {"epochs": epochs}, "strategy": strategy}
    assert check_space(content, "x").rungs == rungs


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"trials": 8}, Finalists(top=3, seeds=3)),
        ({"trials": 7}, None),
        ({"finalists": "none"}, None),
        ({"trials": 2, "finalists": {"top": 1, "seeds": 2}}, Finalists(top=1, seeds=2)),
        ({"finalists": {}}, Finalists(top=3, seeds=3)),
    ],
)
def test_finalists(strategy: dict[str, Any], expected: Finalists | None) -> None:
    assert check_space(example() | {"strategy": strategy}, "x").finalists == expected


@pytest.mark.parametrize(
    ("inlier", "specs"),
    [
        ({"gmm": 4}, [("gmm", 4)]),
        ({"gmm": [4, 4, 2]}, [("gmm", 4), ("gmm", 2)]),
        ({"kde": ["1e-1", 2], "pca": 0.5}, [("kde", 0.1), ("kde", 2), ("pca", 0.5)]),
        ({"none": []}, [("none", None)]),
        ({"none": None}, [("none", None)]),
        ({"lof": [8], "none": [], "gmm": [1]}, [("lof", 8), ("none", None), ("gmm", 1)]),
    ],
)
def test_inlier_models_have_their_values_of_p(
    inlier: dict[str, Any], specs: list[tuple[str, float | None]]
) -> None:
    searched = check_space(example(inlier=inlier), "x").search.specs
    assert [(spec.name, spec.p) for spec in searched] == specs


def test_numbers_that_yaml_takes_for_texts_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "valve.yaml"
    path.write_text(EXAMPLE.replace("[0.1, 1.0, 10.0]", "[1e-1, 1e0]").replace("1.0e-4", "1e-4"))
    assert yaml.safe_load(path.read_text())["search"]["lambda"] == ["1e-1", "1e0"]
    search = load_space(path).search
    assert search.lam == (0.1, 1.0)
    assert search.lr == Range(low=1e-4, high=3e-3, log=True)


def test_ids_may_be_any(tmp_path: Path) -> None:
    unlabelled = check_space(example() | {"validation_ids": [], "test_ids": ["01"]}, "")
    assert (unlabelled.validation_ids, unlabelled.test_ids) == ((), ("1",))
    content = example() | {"validation_ids": ["01", 4, "left"], "test_ids": []}
    space = check_space(content, "x")
    assert space.validation_ids == ("1", "4", "left")
    assert space.test_ids == ()


def test_an_option_may_be_searched() -> None:
    searched = {"method": ["serial", "proposed"], "mixup": ["constant", False], "dropout": "1e-1"}
    space = check_space(example(**searched), "x")
    assert space.search.options == {
        "method": ("serial", "proposed"),
        "mixup": ("constant", "off"),
        "dropout": (0.1,),
    }
    assert check_space(json.loads(space.model_dump_json(by_alias=True)), "x") == space
    assert {(o.method, o.mixup, o.dropout) for o in space.trial_options()} == {
        (method, mixup, 0.1) for method in ("serial", "proposed") for mixup in ("constant", "off")
    }


@pytest.mark.parametrize(
    ("searched", "method"),
    [
        (["serial", "proposed"], "proposed"),
        (["proposed", "serial"], "proposed"),
        (["serial", "serial_aam"], None),
    ],
)
def test_recordings_suit_the_method_that_needs_the_most_of_them(
    searched: list[str], method: str | None
) -> None:
    content = example(method=searched)
    if method is None:
        del content["search"]["lambda"]
    space = check_space(content, "x")
    expected = {} if method is None else {"method": method}
    assert space.source_options == space.fixed.replace(expected)


def test_the_largest_batch_is_that_of_any_trial() -> None:
    for sizes, largest in (([32, 128, 64], 128), (16, 16), ({"low": 8, "high": 64}, 64)):
        assert check_space(example(batch_size=sizes), "x").search.largest_batch == largest


def test_many_searched_options_are_checked_one_at_a_time() -> None:
    searched: dict[str, Any] = {
        "dropout": {"low": 0.01, "high": 0.5},
        "weight_decay": {"low": 0.01, "high": 0.5},
        "embedding": list(range(2, 100)),
        "n_mels": list(range(20, 60)),
        "segments": list(range(2, 50)),
        "n_fft": [512, 1024, 2048],
    }
    space = check_space(example(**searched, method=["serial", "proposed"]), "x")
    options = space.trial_options()
    assert len(options) == 2 * 3 * (1 + 1 + 1 + 97 + 39 + 47)
    for name, values in searched.items():
        expected = set(values.values() if isinstance(values, dict) else values)
        assert {getattr(each, name) for each in options} == expected


@pytest.mark.parametrize("sampler", ["cmaes", "qmc"])
def test_samplers_of_numbers_take_lists_and_ranges_of_numbers(sampler: str) -> None:
    content = example(dropout=[0.1, 0.2], weight_decay={"low": 0.01, "high": 0.5})
    content["strategy"] |= {"sampler": sampler}
    assert check_space(content, "x").strategy.sampler == sampler


def test_a_method_without_lambda_needs_none() -> None:
    content = example() | {"method": "serial"}
    del content["search"]["lambda"]
    assert check_space(content, "x").search.lam is None


def test_method_may_stand_at_the_top_level() -> None:
    content = example(**{"lambda": 1.0})
    assert check_space(content | {"method": "serial"}, "x").fixed.method == "serial"
    del content["method"]
    assert check_space(content, "x").fixed.method == "proposed"
    content["fixed"] = {"method": "serial"}
    assert check_space(content, "x").fixed.method == "serial"


def test_yaml_takes_off_for_false() -> None:
    content = example() | {"fixed": yaml.safe_load("{mixup: off, machine_loss: on}")}
    options = check_space(content, "x").fixed
    assert (options.mixup, options.machine_loss) == ("off", True)


def test_only_a_search_is_needed() -> None:
    space = check_space({"search": example()["search"]}, "x")
    assert space == check_space(example(), "x")


def test_a_space_survives_its_own_json() -> None:
    """study.json holds a space, from which a run resumes."""
    space = check_space(
        example(batch_size={"low": 8, "high": 64}, inlier={"none": [], "gmm": [1]}), "x"
    )
    reloaded = check_space(space.model_dump(mode="json", by_alias=True), "study.json")
    assert reloaded == space


# Mistakes: key and problem of the message, and the change of the space.
Change = Callable[[dict[str, Any]], object]


def put(*path: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def weighted_without_labels(content: dict[str, Any]) -> None:
    content |= {"validation_ids": [], "weights": "validation"}


def words_for_numbers(content: dict[str, Any]) -> None:
    content["search"]["mixup"] = ["constant", "off"]
    content["strategy"] |= {"sampler": "cmaes"}


def drop(*path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def fixed_and_searched(content: dict[str, Any]) -> None:
    content["search"]["dropout"], content["fixed"] = [0.1, 0.2], {"dropout": 0.1}


def both_methods(content: dict[str, Any]) -> None:
    content["method"], content["fixed"] = "serial", {"method": "proposed"}


WRONG: list[tuple[str, str, Change]] = [
    ("colour", "unknown key", put("colour", value=1)),
    ("search.lrr", "unknown key", put("search", "lrr", value=1)),
    ("search.lam", "unknown key", put("search", "lam", value=1)),
    ("fixed.epoch", "unknown key", put("fixed", "epoch", value=1)),
    ("strategy.gpus", "unknown key", put("strategy", "gpus", value=1)),
    ("lr", "the range is empty", put("search", "lr", value={"low": 1e-2, "high": 1e-3})),
    ("lr", "the range is empty", put("search", "lr", value={"low": 1e-2, "high": 1e-2})),
    ("lr", "low > 0", put("search", "lr", value={"low": 0, "high": 1, "log": True})),
    ("lr", "unknown key", put("search", "lr", value={"low": 1e-3, "high": 1, "step": 1})),
    ("lr", "high", put("search", "lr", value={"low": 1e-3})),
    ("lr", "number", put("search", "lr", value={"low": "a", "high": 1})),
    ("lr", "the list is empty", put("search", "lr", value=[])),
    ("lr", "a number, a list of numbers", put("search", "lr", value="fast")),
    ("lr", "a number, a list of numbers", put("search", "lr", value=None)),
    ("lr", "a number, a list of numbers", put("search", "lr", value=True)),
    ("lr", "a number, a list of numbers", put("search", "lr", value=["fast"])),
    ("lr", "a number, a list of numbers", put("search", "lr", value=[[1e-3]])),
    ("lr", "a number, a list of numbers", put("search", "lr", value=[{"low": 1}])),
    ("lr", "a number, a list of numbers", put("search", "lr", value=[True])),
    ("lr", "too small", put("search", "lr", value=[1e-3, -1e-3])),
    ("lr", "too small", put("search", "lr", value=0)),
    ("lr", "a number, a list of numbers", put("search", "lr", value=float("nan"))),
    ("lr", "a number, a list of numbers", put("search", "lr", value=[1e-3, float("inf")])),
    ("lr.high", "finite", put("search", "lr", value={"low": 1e-3, "high": float("inf")})),
    ("lambda", "too small", put("search", "lambda", value=-1)),
    ("lambda", "equired", drop("search", "lambda")),
    ("batch_size", "even numbers", put("search", "batch_size", value=33)),
    ("batch_size", "even numbers", put("search", "batch_size", value=[32, 31])),
    ("batch_size", "even numbers", put("search", "batch_size", value=32.5)),
    ("batch_size", "even numbers", put("search", "batch_size", value={"low": 3, "high": 64})),
    ("batch_size", "too small", put("search", "batch_size", value=0)),
    ("inlier", "unknown inlier model 'knnn'", put("search", "inlier", value={"knnn": [1]})),
    ("inlier", "a mapping", put("search", "inlier", value={})),
    ("inlier", "a mapping", put("search", "inlier", value=["gmm"])),
    ("inlier", "gmm: the list of p is empty", put("search", "inlier", value={"gmm": []})),
    ("inlier", "p >= 1", put("search", "inlier", value={"gmm": [0]})),
    ("inlier", "p >= 1", put("search", "inlier", value={"lof": [2.5]})),
    ("inlier", "p >= 1", put("search", "inlier", value={"lof": None})),
    ("inlier", "takes no p", put("search", "inlier", value={"none": [1]})),
    ("inlier", "0 < p < 1", put("search", "inlier", value={"pca": [0.5, 1]})),
    ("inlier", "0 <= p <= 1", put("search", "inlier", value={"mahalanobis": 2})),
    ("inlier", "a number, a list", put("search", "inlier", value={"kde": ["wide"]})),
    ("inlier", "a number, a list", put("search", "inlier", value={"gmm": [True]})),
    ("inlier", "a number, a list", put("search", "inlier", value={"gmm": [[1]]})),
    ("search", "equired", drop("search")),
    ("search", "", put("search", value=[1])),
    ("fixed.method", "'proposed'", put("method", value="paralel")),
    ("fixed.method", "'proposed'", put("method", value=["serial"])),
    ("method", "differently, in fixed", both_methods),
    ("search.mixup", "'constant', 'rise'", put("search", "mixup", value=["constant", "loud"])),
    ("search.mixup", "the list is empty", put("search", "mixup", value=[])),
    ("search.mixup", "has no range", put("search", "mixup", value={"low": 0, "high": 1})),
    ("search.dropout", "less than 1", put("search", "dropout", value=[0.3, 1.5])),
    ("search.dropout", "the range is empty", put("search", "dropout", value={"low": 1, "high": 0})),
    ("search.dropout", "less than 1", put("search", "dropout", value={"low": 0.1, "high": 1.5})),
    ("search.epochs", "cannot be searched: rungs", put("search", "epochs", value=[10, 20])),
    ("search.options", "unknown key", put("search", "options", value=3)),
    ("search.dropout", "is fixed at 0.1", fixed_and_searched),
    ("search.aam_margin", "method: serial_aam", put("search", "aam_margin", value=[0.1, 0.2])),
    ("search.lambda", "machine_loss: True", put("method", value="serial")),
    ("validation_ids", "a list of product IDs", put("validation_ids", value=3)),
    ("validation_ids", "a list of product IDs", put("validation_ids", value=[[1]])),
    ("validation_ids", "a list of product IDs", put("validation_ids", value="012")),
    ("validation_ids", "named twice", put("validation_ids", value=[1, "01"])),
    ("weights", "weights: validation needs validation_ids", weighted_without_labels),
    ("test_ids", "ID 2 is in validation_ids and in test_ids", put("test_ids", value=["02", 3])),
    ("fixed.epochs", "greater than 0", put("fixed", "epochs", value=0)),
    ("fixed", "f_min < f_max", put("fixed", "f_max", value=9000)),
    ("fixed.compression", "'log', 'db' or 'none'", put("fixed", "compression", value="loud")),
    ("strategy.finalists.top", "greater than 0", put("strategy", "finalists", value={"top": 0})),
    ("strategy.trials", "greater than 0", put("strategy", "trials", value=0)),
    ("strategy.sampler", "'tpe', 'gp'", put("strategy", "sampler", value="simplex")),
    (
        "top level",
        "sampler grid needs the values of search.lr",
        put("strategy", "sampler", value="grid"),
    ),
    (
        "strategy",
        "sampler qmc cannot choose inlier models",
        put("strategy", value={"inlier": "sample", "sampler": "qmc"}),
    ),
    ("top level", "sampler cmaes needs numbers, search.mixup has none", words_for_numbers),
    ("strategy.trials", "greater than 0", put("strategy", "trials", value=0)),
    ("strategy.grace", "greater than 0", put("strategy", "grace", value=0)),
    ("strategy.patience", "greater than 0", put("strategy", "patience", value=0)),
    ("strategy.scheduler", "'auto', 'none', 'asha'", put("strategy", "scheduler", value="pbt")),
    (
        "strategy.finalists.seeds",
        "greater than 1",
        put("strategy", "finalists", value={"seeds": 1}),
    ),
    ("strategy.finalists.topp", "unknown key", put("strategy", "finalists", value={"topp": 1})),
    ("strategy.finalists", "auto, none or {top, seeds}", put("strategy", "finalists", value="yes")),
    ("strategy.seed", "", put("strategy", "seed", value=-1)),
]


@pytest.mark.parametrize(("key", "problem", "change"), WRONG)
def test_a_mistake_is_one_line_with_file_and_key(
    tmp_path: Path, key: str, problem: str, change: Change
) -> None:
    content = copy.deepcopy(example())
    change(content)
    path = tmp_path / "valve.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        load_space(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert key in message
    assert problem in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("search: [", "is no YAML"),
        ("search: {lr: 1\n  x: - 2", "is no YAML"),
        ("", "a mapping"),
        ("- 1", "a mapping"),
        ("just words", "a mapping"),
    ],
)
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "valve.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=problem) as caught:
        load_space(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "valve.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"valve\.yaml: is no YAML"):
        load_space(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_space(tmp_path / "none.yaml")


# Shipped files


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_file_is_a_space(path: Path) -> None:
    space = load_space(path)
    assert space.validation_ids == ("0", "1", "2")
    assert space.test_ids == ("3", "4", "5")


def test_the_files_that_are_promised_are_shipped() -> None:
    assert {"default", "paper", "demo", "wide"} <= {path.stem for path in SHIPPED.glob("*.yaml")}


def test_the_default_space_spells_out_every_option_at_its_default() -> None:
    content = yaml.safe_load((SHIPPED / "default.yaml").read_text())
    assert content["fixed"].keys() == Options.model_fields.keys()
    assert load_space(SHIPPED / "default.yaml").fixed == Options()


def test_the_default_space_is_the_documented_example() -> None:
    assert load_space(SHIPPED / "default.yaml") == check_space(yaml.safe_load(EXAMPLE), "x")


def test_the_wide_space_is_the_default_one_with_all_inlier_models() -> None:
    wide, default = (load_space(SHIPPED / f"{name}.yaml") for name in ("wide", "default"))
    assert tuple(wide.search.inlier) == INLIERS
    assert set(default.search.specs) <= set(wide.search.specs)
    narrow = wide.search.model_copy(update={"inlier": default.search.inlier})
    assert wide.model_copy(update={"search": narrow}) == default


TABLE_ONE = {
    "fan": (1e-3, 32, 0.1, "gmm", 16),
    "gearbox": (1e-3, 128, 10, "gmm", 64),
    "pump": (1e-3, 128, 10, "gmm", 2),
    "valve": (5e-4, 128, 10, "gmm", 32),
    "slider": (1e-3, 128, 10, "gmm", 2),
    "ToyCar": (1e-3, 128, 10, "lof", 16),
    "ToyTrain": (5e-4, 32, 0.1, "lof", 8),
}


@pytest.mark.parametrize("machine", TABLE_ONE)
def test_the_papers_grid_holds_what_the_paper_found(machine: str) -> None:
    lr, batch_size, lam, inlier, p = TABLE_ONE[machine]
    search = load_space(SHIPPED / "paper.yaml").search
    for value, choices in ((lr, search.lr), (batch_size, search.batch_size), (lam, search.lam)):
        assert isinstance(choices, tuple)
        assert value in choices
    assert InlierSpec(inlier, p) in search.specs


def test_the_papers_grid_is_tried_whole() -> None:
    space = load_space(SHIPPED / "paper.yaml")
    search = space.search
    assert [len(v) for v in (search.lr, search.batch_size, search.lam)] == [2, 2, 3]  # type: ignore[arg-type]
    assert space.strategy.trials == 12


# Choice of the file


def test_a_machines_own_file_comes_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = find_space("valve", None)
    assert (shipped.name, shipped.is_file()) == ("default.yaml", True)
    local = tmp_path / "search_spaces"
    local.mkdir()
    (local / "default.yaml").touch()
    assert find_space("valve", None) == Path("search_spaces/default.yaml")
    (local / "valve.yaml").touch()
    assert find_space("valve", None) == Path("search_spaces/valve.yaml")
    assert find_space("fan", None) == Path("search_spaces/default.yaml")


def test_a_requested_file_is_found_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "custom.yaml").touch()
    assert find_space("valve", Path("custom.yaml")) == Path("custom.yaml")
    assert find_space("valve", Path("search_spaces/demo.yaml")).is_file()  # the shipped one
    with pytest.raises(UserError, match=r"--space: there is no file other\.yaml"):
        find_space("valve", Path("other.yaml"))
