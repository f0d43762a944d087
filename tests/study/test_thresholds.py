"""Thresholds of a detector, set anew from its normal scores."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from raysearch.errors import UserError
from raysearch.scoring.threshold import gamma_threshold
from raysearch.study.bundle import load_detector, save_detector
from raysearch.study.locking import lock
from raysearch.study.thresholds import Change, find_detector, set_thresholds
from tests.command import digests
from tests.detectors import IDS, make_detector

SCORES = {
    identity: tuple(np.random.default_rng(int(identity)).gamma(3, 2, 200).tolist())
    for identity in IDS
}


@pytest.fixture
def folder(tmp_path: Path) -> UPath:
    """The detector of a run."""
    folder = UPath(tmp_path / "valve" / "detector")
    save_detector(replace(make_detector(), normal_scores=SCORES), folder)
    return folder


def facts(folder: UPath) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "detector.json").read_text())
    return content


def test_a_quantile_sets_the_thresholds_and_nothing_else(folder: UPath) -> None:
    before, files = facts(folder), digests(Path(str(folder)))
    changes = set_thresholds(folder, 0.99)
    after = facts(folder)
    assert [change.id for change in changes] == list(IDS)
    for change, earlier in zip(changes, (0.0, 1.0, 2.0), strict=True):
        assert change.before == earlier
        assert change.after == gamma_threshold(np.array(SCORES[change.id]), 0.99)
        assert change.above == sum(score > change.after for score in SCORES[change.id])
        assert (change.clips, change.note) == (200, "")
    assert after["thresholds"] == {change.id: change.after for change in changes}
    assert after.pop("quantiles") == dict.fromkeys(IDS, 0.99)
    assert {**after, "thresholds": before["thresholds"]} == before
    now = digests(Path(str(folder)))
    assert {name for name in now if now[name] != files.get(name)} == {"detector.json"}


def test_one_product_at_a_time(folder: UPath) -> None:
    set_thresholds(folder, 0.9)
    first = facts(folder)["thresholds"]
    [change] = set_thresholds(folder, 0.5, ["10"])
    assert isinstance(first, dict)
    assert facts(folder)["thresholds"] == {**first, "10": change.after}
    assert facts(folder)["quantiles"] == {"0": 0.9, "3": 0.9, "10": 0.5}


def test_the_detector_calls_by_the_new_threshold_and_keeps_its_scores(folder: UPath) -> None:
    changes = set_thresholds(folder, 0.75)
    detector = load_detector(folder)
    assert detector.thresholds == {change.id: change.after for change in changes}
    assert detector.normal_scores == SCORES


@given(st.floats(0.01, 0.98), st.floats(0.001, 0.019))
def test_a_higher_quantile_is_never_a_lower_threshold(quantile: float, more: float) -> None:
    scores = np.array(SCORES["0"])
    low, high = (gamma_threshold(scores, each) for each in (quantile, quantile + more))
    assert low <= high


def test_few_clips_for_a_high_quantile_are_told() -> None:
    assert Change("0", 1.0, 2.0, 0, 20, 0.99).note == "20 clips are few for this quantile"
    assert Change("0", 1.0, 2.0, 0, 100, 0.99).note == ""


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 99.0, float("nan")])
def test_a_share_is_between_0_and_1(folder: UPath, quantile: float) -> None:
    before = facts(folder)
    with pytest.raises(UserError, match="expected a share between 0 and 1, such as"):
        set_thresholds(folder, quantile)
    assert facts(folder) == before


def test_an_unknown_id_is_refused(folder: UPath) -> None:
    with pytest.raises(UserError, match="ID 4 is not one of 0, 3, 10"):
        set_thresholds(folder, 0.9, ["3", "4"])
    assert "quantiles" not in facts(folder)


def test_a_detector_without_the_scores_says_how_to_get_them(folder: UPath) -> None:
    (folder / "normal_scores.json").unlink()
    assert load_detector(folder).normal_scores == {}
    with pytest.raises(UserError, match="of an earlier version; delete its folder and repeat"):
        set_thresholds(folder, 0.9)


def test_a_run_stands_for_its_detector(folder: UPath, tmp_path: Path) -> None:
    assert find_detector(folder) == folder
    assert find_detector(folder.parent) == folder
    with pytest.raises(UserError, match="holds no detector"):
        find_detector(UPath(tmp_path))


def test_a_shared_search_has_the_detectors_of_its_test_machines(
    folder: UPath, tmp_path: Path
) -> None:
    home = tmp_path / "shared" / "machines" / "pump"
    home.mkdir(parents=True)
    Path(str(folder)).rename(home / "detector")
    with pytest.raises(UserError, match=r"name a test machine .*: .*/shared/machines/pump$"):
        find_detector(UPath(tmp_path / "shared"))
    assert find_detector(UPath(home)) == UPath(home / "detector")


@pytest.mark.parametrize("below", ["detector", "machines/fan/detector", "detector/members/0"])
def test_a_run_that_is_under_way_keeps_its_detector(tmp_path: Path, below: str) -> None:
    run = UPath(tmp_path / "valve")
    folder = run / below
    save_detector(replace(make_detector(), normal_scores=SCORES), folder)
    (run / "study.json").write_text("{}")
    before = digests(tmp_path / "valve")
    with lock(run), pytest.raises(UserError, match=r"another raysearch is running .*valve, which"):
        set_thresholds(folder, 0.9)
    assert digests(tmp_path / "valve") == before
    assert len(set_thresholds(folder, 0.9)) == len(IDS)
