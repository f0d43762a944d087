"""Members of an ensemble in its report."""

import json
from pathlib import Path

import pytest

from raysearch.report.html.members import members_section
from raysearch.report.html.page import study_page
from raysearch.report.html.parts import Absent, Table
from raysearch.storage import to_path
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal
from raysearch.study.results import read_results
from raysearch.study.space import Space
from raysearch.training.configuration import Configuration
from tests import runs
from tests.files import put
from tests.records import complete, row

SINGLE = {"lr": 1e-3, "batch_size": 32, "lambda": 10.0, "inlier": {"gmm": [4]}}
WITHOUT = {"lr": 3e-3, "batch_size": 16, "inlier": {"none": []}}


def ensemble(folder: Path, weights: str = "equal") -> StudyFolder:
    space = Space.model_validate(
        {
            "search": {"inlier": {"none": []}},
            "fixed": {"method": "parallel"},
            "strategy": {"trials": 1},
            "members": {
                "valve": {"fixed": {"method": "proposed"}, "search": SINGLE},
                "flow-valve": {"fixed": {"method": "flow"}, "search": WITHOUT},
            },
            "weights": weights,
        }
    )
    study = runs.begin(to_path(folder / "ensemble-valve"), space)
    configuration = Configuration(None, None, None, (("method", "parallel"),))
    runs.add(study, [complete(Proposal(0, configuration), row("none", None, 0.7), epochs=0)])
    runs.conclude(study)
    return study


def write_weights(study: StudyFolder) -> None:
    members = [{"name": "valve", "weight": 0.75}, {"name": "flow-valve", "weight": 0.25}]
    put(study.path / "detector" / "detector.json", json.dumps({"members": members}))


def test_members_have_their_configurations_and_weights(tmp_path: Path) -> None:
    study = ensemble(tmp_path)
    write_weights(study)
    (part,) = members_section(read_results(study.path)).parts
    assert isinstance(part, Table)
    assert [list(line) for line in part.rows] == [
        ["valve", "proposed", "0.001", "32", "10", "gmm", "4", "0.75"],
        ["flow-valve", "flow", "0.003", "16", "–", "none", "–", "0.25"],
    ]


@pytest.mark.parametrize(
    ("weights", "sentence"), [("equal", "equal"), ("validation", "optimistic")]
)
def test_the_rule_of_the_weights_is_told(tmp_path: Path, weights: str, sentence: str) -> None:
    section = members_section(read_results(ensemble(tmp_path, weights).path))
    assert sentence in section.lead
    assert isinstance(section.parts[0], Absent)


def test_the_page_has_members_in_place_of_a_search(tmp_path: Path) -> None:
    study = ensemble(tmp_path)
    write_weights(study)
    page = study_page(read_results(study.path))
    assert page.title == "valve: parallel"
    names = [section.name for section in page.sections]
    assert "members" in names
    assert not {"search", "lead", "cost"} & set(names)
    training = next(part for s in page.sections for part in s.parts if part.title == "Training")
    assert isinstance(training, Absent)
    assert "by their own studies" in training.reason
