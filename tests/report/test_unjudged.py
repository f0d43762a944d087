"""Every view of a study without validation labels: words, neither numbers nor failures."""

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from upath import UPath

from raysearch.pipeline.study import Study
from raysearch.report.compare import compare
from raysearch.report.html.overview import write_reports
from raysearch.report.html.page import study_page
from raysearch.report.html.parts import Absent
from raysearch.report.status import read_status, show, status_json
from raysearch.report.tables import export, write_best
from raysearch.report.trials_file import TrialsFile
from raysearch.report.wording import format_score
from raysearch.study.confidence import read_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.results import read_results
from raysearch.study.space import check_space
from raysearch.study.winner import read_frozen
from tests import runs
from tests.command import table

PHRASE = "no validation score"


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return runs.unjudged(UPath(tmp_path / "valve"))


def test_the_status(study: StudyFolder) -> None:
    console = Console(file=io.StringIO(), width=200)
    show([read_status(study.path)], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"{PHRASE}  trial 0" in text
    assert "1 finished, 0 pruned, 0 failed of 1" in text
    content = json.loads(json.dumps(status_json(read_status(study.path)), allow_nan=False))
    assert (content["winner"]["val_score"], content["best"]["val_score"]) == (None, None)
    assert content["best"]["state"] == "COMPLETE"


def test_the_best_configuration(study: StudyFolder) -> None:
    winner, confidence = read_frozen(study.path), read_confidence(study.path)
    assert winner is not None
    assert format_score(winner, confidence) == PHRASE
    space = check_space(study.manifest.space, "study.json")
    write_best(study.path, winner, confidence, space)
    text = (study.path / "best_config.yaml").read_text()
    assert text.startswith(f"# The only configuration for valve: {PHRASE}.\n# Note: no validation")
    assert check_space(yaml.safe_load(text), "best_config.yaml").validation_ids == ()
    [row] = table(Path(str(study.path / "best_config.csv")))
    assert (row["val_score"], row["mean_score"], row["seeds"]) == ("", "", "1")


def test_trials_and_the_api(study: StudyFolder) -> None:
    opened = Study(str(study.path))
    [line] = opened.trials().to_dict("records")
    assert (line["state"], line["inlier"]) == ("COMPLETE", "gmm")
    assert line["val_score"] != line["val_score"]  # an empty cell
    assert opened.winner is not None
    assert opened.winner.val_score is None
    space = check_space(study.manifest.space, "study.json")
    assert "nan" not in TrialsFile(study.path, space, study.records()).text().lower()


def test_the_page(study: StudyFolder) -> None:
    page = study_page(read_results(study.path))
    assert PHRASE in page.lead
    assert page.tiles[0].value == "none"
    assert any("nothing was chosen by a score" in note for note in page.notes)
    parts = {part.title: part for section in page.sections for part in section.parts}
    assert not [title for title, part in parts.items() if "cannot be drawn" in str(part)]
    for title in ("The best configurations", "History", "Worst misclassified clips"):
        assert isinstance(parts[title], Absent)
    assert not isinstance(parts["Embeddings"], Absent)


def test_the_page_of_all_studies_and_the_tables(study: StudyFolder, tmp_path: Path) -> None:
    judged = runs.begin(UPath(tmp_path / "fan"), machine="fan")
    runs.add(judged, runs.records())
    runs.conclude(judged, "fan")
    assert len(write_reports(UPath(tmp_path))) == 3
    assert "cannot be drawn" not in (tmp_path / "report.html").read_text("utf-8")
    export(UPath(tmp_path))
    scores = {row["parameter"]: row["valve"] for row in table(tmp_path / "best_configs.csv")}
    assert (scores["val_score"], scores["inlier"]) == ("", "gmm")


def test_the_comparison(study: StudyFolder, tmp_path: Path) -> None:
    other = runs.begin(UPath(tmp_path / "other"))
    runs.add(other, runs.records())
    runs.conclude(other)
    comparison = compare(study.path, other.path)
    assert comparison.rows["validation score"][0] == PHRASE
    assert "validation: no clips that both scored; a run has no product IDs for it" in (
        comparison.notes
    )
