"""The final test on recordings: the official format, the labels, and the ledger."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from upath import UPath

from raysearch.data.ground_truth import read_ground_truth
from raysearch.data.source import Source
from raysearch.detector import Detector
from raysearch.errors import DataError, UserError
from raysearch.scoring.metrics import auc_pauc, harmonic_mean
from raysearch.scoring.spec import InlierSpec
from raysearch.study.context import StudyContext
from raysearch.study.final_test import final_test
from raysearch.study.final_test import testable_clips as clips_to_test
from raysearch.study.ledger import FinalRequest
from raysearch.study.scores import FinalTest, read_scores
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from tests.detectors import make_detector
from tests.records import make_manifest, make_space

TEST_IDS = ("3", "4", "5")
WINNER = Winner(
    "valve", 0, "encoder0", Configuration(1e-3, 32, 10.0), InlierSpec("gmm", 2), 0.7, 0, "data"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector(ids=("0", *TEST_IDS))


@pytest.fixture
def root(tmp_path: Path, demo_data: Path) -> Path:
    """Link the valves of the demo data set into a folder that the test may change."""
    copy = tmp_path / "data"
    for folder in ("dev_data/valve", "eval_data/valve", "eval_data/ground_truth"):
        shutil.copytree(demo_data / folder, copy / folder, copy_function=os.link)
    return copy


def source(root: Path, **changes: object) -> Source:
    return replace(Source(root, "valve", ("0", "1", "2")), **changes)  # type: ignore[arg-type]


def run(
    detector: Detector,
    source: Source,
    folder: Path,
    ids: Sequence[str] = TEST_IDS,
    on_clips: Callable[[int], None] | None = None,
) -> FinalTest:
    folder.mkdir(exist_ok=True)
    space = make_space().model_copy(update={"test_ids": tuple(ids)})
    make_manifest(space).write(UPath(folder))
    context = StudyContext(UPath(folder), source, "data", space)
    request = FinalRequest("raysearch run")
    return final_test(WINNER, detector, context, request=request, on_clips=on_clips)


def ledger(folder: Path) -> list[dict[str, Any]]:
    path = folder / "test_ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def clips_of(root: Path, identity: str) -> list[Path]:
    return sorted((root / "eval_data/valve/source_test").glob(f"section_0{identity}_*.wav"))


def spoil(path: Path) -> None:
    path.unlink()  # it is a hard link to the recording of all tests
    path.write_bytes(b"garbage")


def test_the_submission_is_in_the_official_format(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    advances: list[int] = []
    run(detector, source(root), tmp_path / "run", on_clips=advances.append)
    submission = tmp_path / "run" / "submission"
    assert {path.name for path in submission.glob("*.csv")} == {
        f"{kind}_valve_section_0{i}_source_test.csv"
        for kind in ("anomaly_score", "decision_result")
        for i in TEST_IDS
    }
    assert sum(advances) == 36
    for i in TEST_IDS:
        stem = f"valve_section_0{i}_source_test.csv"
        scores = rows(submission / f"anomaly_score_{stem}")
        decisions = rows(submission / f"decision_result_{stem}")
        names = [path.name for path in clips_of(root, i)]
        assert len(names) == 12
        assert [name for name, _ in scores] == [name for name, _ in decisions] == names
        for name, score in scores:
            path = root / "eval_data/valve/source_test" / name
            assert float(score) == detector.score_file(path, i)[0]
        assert [value for _, value in decisions] == [
            str(int(float(score) > detector.thresholds[i])) for _, score in scores
        ]


def test_the_result_follows_from_the_submission_and_the_ground_truth(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    result = run(detector, source(root), tmp_path / "run")
    head, *per_id, last = rows(tmp_path / "run" / "final_test.csv")
    assert head[:4] == ["machine", "id", "auc", "pauc"]
    assert head[4:] == ["low", "high", "normal", "anomalous", "unlabelled", "note"]
    truth = read_ground_truth(root, "valve", TEST_IDS)
    for i, line in zip(TEST_IDS, per_id, strict=True):
        path = tmp_path / "run/submission" / f"anomaly_score_valve_section_0{i}_source_test.csv"
        scores = {name: float(score) for name, score in rows(path)}
        expected = auc_pauc([truth[i, name] for name in scores], list(scores.values()))  # type: ignore[arg-type]
        assert line[:2] == ["valve", i]
        assert (float(line[2]), float(line[3])) == expected
        assert line[4:] == ["", "", "6", "6", "0", ""]
    assert last[:2] == ["valve", "hmean"]
    assert [float(v) for v in last[2:4]] == [
        harmonic_mean(float(line[column]) for line in per_id) for column in (2, 3)
    ]
    assert result.score == pytest.approx(
        harmonic_mean(float(v) for line in per_id for v in line[2:4])
    )
    assert result.remarks == ()


def test_the_ledger_has_the_opening_and_its_result(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    result = run(detector, source(root), tmp_path / "run", ("3",))
    opening, ended = ledger(tmp_path / "run")
    assert opening["opening"] == ended["opening"] == 1
    assert opening["command"] == "raysearch run"
    assert opening["test_ids"] == ["3"]
    assert opening["clips"] == 12
    assert opening["frozen"]["lr"] == 1e-3
    assert ended["score"] == result.score
    assert ended["ids"] == {"3": list(result.areas["3"])}
    for name in ("final_test.csv", "final_scores.csv"):
        digest = sha256((tmp_path / "run" / name).read_bytes()).hexdigest()
        assert ended["files"][name] == digest


def test_the_reference_is_scored_on_the_same_clips(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    space = make_space().model_copy(update={"test_ids": TEST_IDS})
    make_manifest(space).write(UPath(folder))
    context = StudyContext(UPath(folder), source(root), "data", space)
    result = final_test(
        WINNER, detector, context, request=FinalRequest("raysearch run"), reference=detector
    )
    assert result.reference == result.score
    assert rows(folder / "reference_test.csv") == rows(folder / "final_test.csv")
    assert ledger(folder)[-1]["reference"] == result.score


def test_the_ledger_is_written_before_a_recording_is_opened(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    for path in clips_of(root, "3"):
        spoil(path)
    with pytest.raises(UserError, match="12 of 12 test clips are defective"):
        run(detector, source(root), tmp_path / "run", ("3",))
    assert len(ledger(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / "final_test.csv").exists()


def test_the_ledger_is_written_before_a_label_is_read(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    spoil(root / "eval_data/ground_truth/ground_truth_valve_section_03_source_test.csv")
    with pytest.raises(DataError, match=r"section_03_source_test\.csv:1"):
        run(detector, source(root), tmp_path / "run", ("3",))
    assert len(ledger(tmp_path / "run")) == 1


def test_other_ids_are_not_opened(root: Path, tmp_path: Path, detector: Detector) -> None:
    for i in ("4", "5"):
        for path in clips_of(root, i):
            spoil(path)
        spoil(root / f"eval_data/ground_truth/ground_truth_valve_section_0{i}_source_test.csv")
    result = run(detector, source(root), tmp_path / "run", ("3",))
    assert list(result.areas) == ["3"]


def test_clips_of_an_id_that_the_detector_does_not_know_are_left_out(root: Path) -> None:
    clips = clips_to_test(source(root), make_detector(ids=("0", "4")), TEST_IDS)
    assert {clip.id for clip in clips} == {"4"}
    assert len(clips) == len(clips_of(root, "4"))


def test_without_test_clips_nothing_is_opened(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shutil.rmtree(root / "eval_data/valve/source_test")
    result = run(detector, source(root), tmp_path / "run")
    assert result.score is None
    assert "no test clips" in result.remarks[0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["study.json"]


def test_without_labels_there_are_scores_but_no_result(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shutil.rmtree(root / "eval_data/ground_truth")
    result = run(detector, source(root), tmp_path / "run", ("3", "4"))
    assert result.score is None
    assert [row.note for row in result.ids] == ["no labels", "no labels"]
    assert len(list((tmp_path / "run" / "submission").glob("*.csv"))) == 4
    assert not (tmp_path / "run" / "final_test.csv").exists()


def test_labels_may_lie_elsewhere(root: Path, tmp_path: Path, detector: Detector) -> None:
    plain = run(detector, source(root), tmp_path / "run", ("3",))
    shutil.move(root / "eval_data/ground_truth", tmp_path / "truth")
    elsewhere = source(root, ground_truth=tmp_path / "truth")
    assert run(detector, elsewhere, tmp_path / "run", ("3",)) == plain


def test_a_label_in_the_name_comes_before_the_ground_truth(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    plain = run(detector, source(root), tmp_path / "run", ("0",))
    clips = sorted((root / "dev_data/valve/source_test").glob("section_00_*"))
    lines = [f"{clip.name},{int('normal' in clip.name)}" for clip in clips]
    truth = tmp_path / "truth/ground_truth_valve_section_00_source_test.csv"
    truth.parent.mkdir()
    truth.write_text("\n".join(lines) + "\n")
    opposite = source(root, ground_truth=truth.parent)
    assert run(detector, opposite, tmp_path / "other", ("0",)) == plain


def test_a_defective_clip_has_the_worst_score_where_that_is_allowed(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    """Left out it would be missing in the submission, which an evaluator pairs line by line."""
    first = clips_of(root, "3")[0]
    spoil(first)
    with pytest.raises(DataError, match=f"1 of 12 test clips .*{first.name}.*--allow-defects"):
        run(detector, source(root), tmp_path / "run", ("3",))
    result = run(detector, source(root, allow_defects=True), tmp_path / "run", ("3",))
    assert result.score is not None
    (remark,) = result.remarks
    assert first.name in remark
    assert result.ids[0].note == "1 unreadable, with the worst score"
    path = tmp_path / "run/submission/anomaly_score_valve_section_03_source_test.csv"
    lines = rows(path)
    assert [name for name, _ in lines] == [path.name for path in clips_of(root, "3")]
    assert float(lines[0][1]) == max(float(score) for _, score in lines)
    assert float(lines[0][1]) > detector.thresholds["3"]
    with (tmp_path / "run/final_scores.csv").open(newline="") as file:
        assert first.name in next(csv.DictReader(file))["error"]


def test_partial_labels_are_marked_where_the_figure_stands(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    truth = root / "eval_data/ground_truth"
    (truth / "ground_truth_valve_section_04_source_test.csv").unlink()
    partial = truth / "ground_truth_valve_section_03_source_test.csv"
    lines = sorted(partial.read_text().splitlines(), key=lambda line: line.rpartition(",")[2])
    partial.unlink()  # it is a hard link
    partial.write_text("\n".join([lines[0], lines[-1]]) + "\n")
    result = run(detector, source(root), tmp_path / "run")
    assert result.note == ("over 2 of 3 test IDs; ID 3: labels of 2 of 12 clips; ID 4: no labels")
    *ids, last = rows(tmp_path / "run/final_test.csv")[1:]
    assert [line[1:2] + line[6:] for line in ids] == [
        ["3", "1", "1", "10", "labels of 2 of 12 clips"],
        ["4", "0", "0", "12", "no labels"],
        ["5", "6", "6", "0", ""],
    ]
    assert ids[1][2:4] == ["", ""]
    assert last[-1] == result.note


def test_each_domain_has_a_submission(root: Path, tmp_path: Path, detector: Detector) -> None:
    shutil.copytree(root / "dev_data/valve/source_test", root / "dev_data/valve/target_test")
    for path in (root / "dev_data/valve/target_test").iterdir():
        path.rename(path.with_name(path.name.replace("source", "target")))
    result = run(detector, source(root, domain="both"), tmp_path / "run", ("0",))
    assert list(result.areas) == ["0"]
    for domain in ("source", "target"):
        path = tmp_path / "run/submission" / f"anomaly_score_valve_section_00_{domain}_test.csv"
        assert len(rows(path)) == 12
        assert all(f"_{domain}_" in name for name, _ in rows(path))


def shift(root: Path, keep: Callable[[str], bool] = lambda _: True) -> None:
    """Make clips of the target domain of those of the source domain."""
    for folder in ("dev_data/valve/source_test", "eval_data/valve/source_test"):
        target = root / folder.replace("source", "target")
        target.mkdir()
        for path in filter(lambda path: keep(path.name), (root / folder).iterdir()):
            os.link(path, target / path.name.replace("source", "target"))
    for path in list((root / "eval_data/ground_truth").glob("*valve*source*")):
        lines = path.read_text().replace("source", "target")
        path.with_name(path.name.replace("source", "target")).write_text(lines)


def test_clips_of_both_domains_have_official_scores(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    plain = run(detector, source(root), tmp_path / "plain")
    assert plain.official is None
    assert not (tmp_path / "plain/official_scores.csv").exists()
    shift(root)
    result = run(detector, source(root, domain="both"), tmp_path / "run")
    assert result.official is not None
    # The clips of both domains are the same, and so are their figures.
    for row in result.official.ids:
        areas = plain.areas[row.id]
        assert (row.source_auc, row.source_pauc) == (row.target_auc, row.target_pauc) == areas
        assert (row.smix_auc, row.tmix_auc) == pytest.approx((areas[0], areas[0]))
    assert result.official.mean.official_2021 == pytest.approx(plain.score)
    path = tmp_path / "run/official_scores.csv"
    head, *ids, last = rows(path)
    assert head[:3] == ["machine", "id", "source_auc"]
    assert [line[1] for line in (*ids, last)] == [*TEST_IDS, "hmean"]
    digest = sha256(path.read_bytes()).hexdigest()
    assert ledger(tmp_path / "run")[-1]["files"]["official_scores.csv"] == digest


def test_the_domain_of_test_clips_may_differ_from_that_of_training(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shift(root)
    wide = run(detector, source(root, domain="both"), tmp_path / "wide")
    assert run(detector, source(root, test_domain="both"), tmp_path / "other") == wide
    target = source(root, domain="both", test_domain="target")
    run(detector, target, tmp_path / "target", ("3",))
    path = tmp_path / "target/final_scores.csv"
    assert {line[2] for line in rows(path)[1:]} == {"target"}


def hide_domains(root: Path) -> None:
    """Name the evaluation clips and their ground truth as in 2022, where no name has a domain."""
    shift(root)
    folder = root / "eval_data/valve/test"
    folder.mkdir()
    truth = root / "eval_data/ground_truth"
    data, domains = truth / "ground_truth_data", truth / "ground_truth_domain"
    for each in (data, domains):
        each.mkdir()
    for identity in TEST_IDS:
        labels, origins = [], []
        for number, domain in enumerate(("source", "target")):
            path = truth / f"ground_truth_valve_section_0{identity}_{domain}_test.csv"
            for name, label in rows(path):
                new = name.replace(f"_{domain}_test_", f"_{number}")
                os.rename(root / f"eval_data/valve/{domain}_test" / name, folder / new)
                labels.append(f"{new},{label}\n")
                origins.append(f"{new},{number}\n")
            path.unlink()
        file = f"ground_truth_valve_section_0{identity}_test.csv"
        (data / file).write_text("".join(labels))
        (domains / file).write_text("".join(origins))


def test_domains_of_ground_truth_give_the_official_scores(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    hide_domains(root)
    result = run(detector, source(root, domain="both"), tmp_path / "run")
    domains = [line[2] for line in rows(tmp_path / "run/final_scores.csv")[1:]]
    assert (domains.count("source"), domains.count("target")) == (36, 36)
    assert result.official is not None
    for row in result.official.ids:
        assert row.source_auc == row.target_auc == row.smix_auc is not None
    # An evaluator of 2022 and later reads one file of a product ID.
    for path in (tmp_path / "run/submission").glob("*.csv"):
        assert path.name.endswith(("_03_test.csv", "_04_test.csv", "_05_test.csv"))
        assert len(rows(path)) == 24


def test_normal_clips_alone_in_a_domain_have_a_note_in_place_of_a_figure(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shift(root, lambda name: "normal" in name)
    result = run(detector, source(root, domain="both"), tmp_path / "run", ("0",))
    assert result.official is not None
    (row,) = result.official.ids
    assert row.note == "labelled target clips are all of one kind"
    assert (row.target_auc, row.official_2021) == (None, None)
    assert row.official_2022 is not None
    assert (
        "score of 2021 over 0 of 1 test IDs" in rows(tmp_path / "run/official_scores.csv")[-1][-1]
    )


def test_ids_that_are_no_numbers_and_names_without_a_domain(
    tmp_path: Path, demo_data: Path
) -> None:
    clips = sorted((demo_data / "dev_data/valve/source_test").glob("section_00_*"))[3:9]
    for number, path in enumerate(clips):
        label = "abnormal" if "anomaly" in path.name else "normal"
        # Folders of normal and of abnormal clips use the same names.
        target = tmp_path / "data/valve/id_left" / label / f"{number % 3:08d}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    run(make_detector(ids=("left",)), source(tmp_path / "data"), tmp_path / "run", ("left",))
    path = tmp_path / "run/submission/anomaly_score_valve_section_left_test.csv"
    names = [name for name, _ in rows(path)]
    assert len(names) == len(set(names)) >= 3
    assert {name.partition("/")[0] for name in names} == {"normal", "abnormal"}
    assert [score.clip for score in read_scores(UPath(tmp_path / "run/final_scores.csv"))] == names
