"""The studies of a run, of an ensemble, and of the paper's tables."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.backend.resources import Resources
from raysearch.errors import UserError
from raysearch.pipeline.plan import plan_run, plan_shared
from raysearch.pipeline.reproduce import plan_searches
from raysearch.pipeline.request import Request
from raysearch.pipeline.run import run_plan
from raysearch.storage import to_path
from raysearch.study.systems import SYSTEMS

SEARCH = {"lr": [1e-3], "batch_size": [32], "lambda": [1.0], "inlier": {"gmm": [1]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request_of(folder: Path, content: dict[str, Any], **options: Any) -> Request:
    path = folder / "space.yaml"
    text = yaml.safe_dump({"search": SEARCH, **content}, sort_keys=False)
    path.write_text(text)
    return Request(to_path("data"), to_path("runs"), Resources(), space=path, **options)


def test_a_machine_type_has_a_study(folder: Path) -> None:
    plan = plan_run(request_of(folder, {}, name="wide", trials=7), ["fan", "valve"])
    assert [study.folder.name for study in plan.studies] == ["wide-fan", "wide-valve"]
    assert {study.space.strategy.trials for study in plan.studies} == {7}
    assert all(study.final for study in plan.studies)
    assert plan.ensembles == ()


@pytest.mark.parametrize(("name", "prefix"), [(None, ""), ("wide", "wide-")])
def test_members_have_studies_without_a_final_test(
    folder: Path, name: str | None, prefix: str
) -> None:
    members = {"small": {"fixed": {"method": "serial"}, "strategy": {"trials": 2}}, "flow": {}}
    members["flow"] = {"fixed": {"method": "flow", "epochs": 9}}
    content = {"fixed": {"method": "parallel"}, "members": members, "weights": "validation"}
    plan = plan_run(request_of(folder, content, name=name, epochs=3), ["valve"])
    names = [f"{prefix}small-valve", f"{prefix}flow-valve"]
    assert [study.folder.name for study in plan.studies] == names
    assert not any(study.final for study in plan.studies)
    assert [study.space.strategy.trials for study in plan.studies] == [2, 50]
    # What is typed is for all.
    assert [study.space.fixed.epochs for study in plan.studies] == [3, 3]
    (ensemble,) = plan.ensembles
    assert ensemble.folder.name == (name or "valve")
    assert [path.name for path in ensemble.members.values()] == names
    assert ensemble.weights == "validation"


SHARED = {"validation_machines": ["fan", "valve"], "test_machines": ["pump"]}


@pytest.mark.parametrize(("name", "folder_name"), [(None, "shared"), ("first-shot", "first-shot")])
def test_a_shared_search_is_one_study_of_all_its_machine_types(
    folder: Path, name: str | None, folder_name: str
) -> None:
    planned = plan_shared(request_of(folder, SHARED, name=name, trials=7, epochs=3))
    assert (planned.folder.name, planned.machine) == (folder_name, "shared")
    assert (planned.space.strategy.trials, planned.space.fixed.epochs) == (7, 3)
    assert planned.space.validation_keys == ("fan/0", "valve/0")
    assert planned.space.test_keys == ("pump/0",)


def test_a_shared_search_takes_its_space_from_the_file_of_that_name(folder: Path) -> None:
    (folder / "search_spaces").mkdir()
    path = folder / "search_spaces" / "shared.yaml"
    path.write_text(yaml.safe_dump({"search": SEARCH, **SHARED}))
    request = Request(to_path("data"), to_path("runs"), Resources())
    assert plan_shared(request).space_file == "search_spaces/shared.yaml"
    path.unlink()
    with pytest.raises(UserError, match=r"default.yaml: a shared search needs validation_machines"):
        plan_shared(request)


def test_a_shared_space_is_searched_as_such_only(folder: Path) -> None:
    request = request_of(folder, SHARED)
    with pytest.raises(UserError, match=r"space.yaml: validation_machines .*; add --shared"):
        run_plan(plan_run(request, ["fan"]), request)


def test_the_systems_of_a_table_share_studies_with_the_default_members(folder: Path) -> None:
    plan = plan_searches(SYSTEMS["table2"], request_of(folder, {}), ["valve"], 2)
    final = {study.folder.name: study.final for study in plan.studies}
    for mark in ("", "-seed1"):
        assert final[f"proposed{mark}-valve"]
        assert final[f"ddcsad{mark}-valve"]
        assert final[f"serial{mark}-valve"]
        assert not final[f"flow{mark}-valve"]
    assert len(final) == 12
    assert [each.folder.name for each in plan.ensembles] == [
        *("parallel-valve", "parallel-seed1-valve")
    ]
    assert {study.space.strategy.seed for study in plan.studies} == {0, 1}


def test_members_of_ones_choice_have_studies_of_their_own(folder: Path) -> None:
    """A member may be called as a system of the table and be another."""
    members = {"serial": {"fixed": {"method": "serial", "embedding": 16}}}
    members["flow"] = {"fixed": {"method": "flow"}}
    content = {"fixed": {"method": "parallel"}, "members": members}
    plan = plan_searches(SYSTEMS["table2"], request_of(folder, content), ["valve"], 1)
    sizes = {study.folder.name: study.space.fixed.embedding for study in plan.studies}
    assert sizes["parallel-serial-valve"] == 16
    assert sizes["serial-valve"] == 128
    (ensemble,) = plan.ensembles
    assert [path.name for path in ensemble.members.values()] == [
        *("parallel-serial-valve", "parallel-flow-valve")
    ]
