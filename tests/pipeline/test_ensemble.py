"""The space of an ensemble, and the studies that cannot be its members."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import UserError
from raysearch.pipeline.ensemble import check_members, ensemble_space, plan_ensemble
from raysearch.pipeline.finished import FinishedStudy, read_finished
from raysearch.storage import to_path
from raysearch.study.records import Proposal
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from tests import runs
from tests.files import put
from tests.records import complete, make_space, row

SEARCH: Mapping[str, Any] = {"lr": [1e-3], "batch_size": [32], "inlier": {"none": []}}


def finished(folder: Path, name: str, **fixed: Any) -> FinishedStudy:
    """A finished study with a winner and, as a file, a detector."""
    method = fixed.setdefault("method", "flow")
    search = {k: v for k, v in SEARCH.items() if method != "baseline" or k == "inlier"}
    space = Space.model_validate({"search": search, "fixed": fixed, "strategy": {"trials": 1}})
    study = runs.begin(to_path(folder / name), space)
    is_trained = method != "baseline"
    configuration = Configuration(1e-3 if is_trained else None, 32 if is_trained else None, None)
    runs.add(study, [complete(Proposal(0, configuration), row("none", None, 0.7))])
    runs.conclude(study)
    put(study.path / "detector" / "detector.json", "{}")
    return read_finished(study.path)


@pytest.mark.parametrize("method", ["flow", "baseline"])
def test_the_space_has_the_recordings_of_its_members(tmp_path: Path, method: str) -> None:
    slow = {"rate": 8000, "f_max": 3900, "channel": 1, "segment_seconds": 1.0}
    studies = {
        "first": finished(tmp_path, "first", method=method, **slow),
        "second": finished(tmp_path, "second", method="autoencoder", **slow),
    }
    space = ensemble_space(studies, "validation")
    assert (space.fixed.method, space.fixed.rate, space.fixed.channel) == ("parallel", 8000, 1)
    assert [space.member(name).fixed.method for name in space.members] == [method, "autoencoder"]
    assert [options.rate for options in space.trial_options()] == [8000, 8000]
    assert space.weights == "validation"
    assert space.member("second").search.lr == (1e-3,)


def test_studies_that_differ_are_refused(tmp_path: Path) -> None:
    first = finished(tmp_path, "first")
    second = finished(tmp_path, "second")
    check_members([first, second])
    other_data = replace(second, winner=replace(second.winner, data="g" * 64))
    with pytest.raises(UserError, match=r"second was searched on other recordings than .*first"):
        check_members([first, other_data])
    other_machine = replace(second, manifest=second.manifest.model_copy(update={"machine": "fan"}))
    with pytest.raises(UserError, match=r"second is of fan, .*first of valve"):
        check_members([first, other_machine])
    other_ids = replace(second, space=second.space.model_copy(update={"test_ids": ("4",)}))
    with pytest.raises(UserError, match=r"second has test_ids 4, .*first has 3, 4, 5"):
        check_members([first, other_ids])
    (second.folder / "detector" / "detector.json").unlink()
    with pytest.raises(UserError, match="second has no detector yet"):
        check_members([first, second])


def test_a_study_without_a_winner_is_refused(tmp_path: Path) -> None:
    study = runs.begin(to_path(tmp_path / "begun"), make_space())
    with pytest.raises(UserError, match="begun has no frozen configuration yet"):
        read_finished(study.path)


def test_an_ensemble_is_called_by_its_machine_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path, "first")
    finished(tmp_path, "second")
    monkeypatch.chdir(tmp_path / "first")
    folders = [to_path("."), to_path("../second")]
    planned = plan_ensemble(folders, to_path("../runs"), None, "equal")
    assert planned.folder == to_path("../runs") / "ensemble-valve"
    assert list(planned.members) == ["first", "second"]
    with pytest.raises(UserError, match="second is named twice"):
        plan_ensemble([folders[1], folders[1]], to_path("."), None, "equal")
