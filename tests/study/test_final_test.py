"""The final test: hand-computed scores, the official format, and the ledger."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from upath import UPath

from raysearch.data.dataset import Source
from raysearch.data.index import Clip, read_ground_truth
from raysearch.detector import Detector
from raysearch.errors import DataError, UserError
from raysearch.scoring.metrics import auc_pauc, harmonic_mean
from raysearch.scoring.spec import InlierSpec
from raysearch.study.context import StudyContext
from raysearch.study.final_test import FinalResult, final_test, score_test_clips
from raysearch.study.winner import Winner
from raysearch.training.configuration import Configuration
from tests.detectors import make_detector
from tests.records import make_space

TEST_IDS = ("3", "4", "5")
WINNER = Winner(
    "valve", 0, "encoder0", Configuration(1e-3, 32, 10.0), InlierSpec("gmm", 2), 0.7, 0, "data"
)


def scored(identity: str, *rows: tuple[int | None, float]) -> dict[str, list[tuple[Clip, float]]]:
    """Make scored clips a, b, c ... of an ID; None is a name without a label."""
    return {
        identity: [
            (Clip("valve", identity, "test", "source", label, Path(f"{name}.wav")), score)
            for name, (label, score) in zip("abcdefgh", rows, strict=False)
        ]
    }


# One of the four pairs of a normal and an anomaly is in the wrong order: AUC 3/4. Half of the
# anomalies score above every normal, so A = 0.1 / 2, and pAUC = (1 + (A - 0.005) / 0.095) / 2.
ROWS = ((0, 0.1), (0, 0.6), (1, 0.5), (1, 0.9))
AUC, PAUC = 3 / 4, 14 / 19


def test_labels_of_names_are_judged() -> None:
    result = score_test_clips(scored("3", *ROWS), {}, ["3"])
    assert result.score is not None
    assert result.score.per_id["3"] == pytest.approx((AUC, PAUC))
    assert result.score.hmean == pytest.approx(2 / (1 / AUC + 1 / PAUC))
    assert result.remarks == ()


def test_labels_of_the_ground_truth_are_judged() -> None:
    rows = [(None, score) for _, score in ROWS]
    truth = {("3", f"{n}.wav"): int(n in "cd") for n in "abcd"} | {("4", "a.wav"): 1}
    result = score_test_clips(scored("3", *rows), truth, ["3"])
    assert result.score is not None
    assert result.score.per_id["3"] == pytest.approx((AUC, PAUC))


def test_a_label_in_the_name_comes_before_the_ground_truth() -> None:
    truth = {("3", f"{n}.wav"): int(n in "ab") for n in "abcd"}
    result = score_test_clips(scored("3", *ROWS), truth, ["3"])
    assert result.score is not None
    assert result.score.per_id["3"][0] == pytest.approx(AUC)


def test_each_id_is_judged_by_itself() -> None:
    perfect = [(label, score + 100 * label) for label, score in ROWS]
    scores = scored("3", *ROWS) | scored("10", *((a, 1e6 * b) for a, b in perfect))
    result = score_test_clips(scores, {}, ["3", "10"])
    assert result.score is not None
    assert result.score.per_id["10"] == (1.0, 1.0)
    assert result.score.hmean == pytest.approx(4 / (1 / AUC + 1 / PAUC + 2))


def test_clips_without_a_label_are_left_out_of_the_judgement() -> None:
    result = score_test_clips(scored("3", *ROWS, (None, -50.0)), {}, ["3"])
    assert result.score is not None
    assert result.score.per_id["3"][0] == pytest.approx(AUC)


@pytest.mark.parametrize(
    ("scores", "remark"),
    [
        ({}, "ID 4: no test clips"),
        (scored("4", (None, 0.1), (None, 0.2)), "ID 4: no labels; scores are in submission/"),
        (scored("4", (0, 0.1), (0, 0.2)), "ID 4: labelled clips are all of one kind"),
        (scored("4", (1, 0.1), (None, 0.2)), "ID 4: labelled clips are all of one kind"),
    ],
)
def test_an_untestable_id_is_a_remark(
    scores: dict[str, list[tuple[Clip, float]]], remark: str
) -> None:
    assert score_test_clips(scores, {}, ["4"]) == FinalResult(None, (remark,))
    both = score_test_clips(scores | scored("3", *ROWS), {}, ["3", "4"])
    assert both.score is not None
    assert list(both.score.per_id) == ["3"]
    assert both.remarks == (remark,)


# On recordings


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
) -> FinalResult:
    folder.mkdir(exist_ok=True)
    space = make_space().model_copy(update={"test_ids": tuple(ids)})
    context = StudyContext(UPath(folder), source, "data", space)
    return final_test(WINNER, detector, context, command="raysearch run", on_clips=on_clips)


def ledger(folder: Path) -> list[dict[str, object]]:
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
    assert head == ["machine", "id", "auc", "pauc"]
    truth = read_ground_truth(root, "valve", TEST_IDS)
    for i, line in zip(TEST_IDS, per_id, strict=True):
        path = tmp_path / "run/submission" / f"anomaly_score_valve_section_0{i}_source_test.csv"
        scores = {name: float(score) for name, score in rows(path)}
        expected = auc_pauc([truth[i, name] for name in scores], list(scores.values()))  # type: ignore[arg-type]
        assert line[:2] == ["valve", i]
        assert (float(line[2]), float(line[3])) == expected
    assert last[:2] == ["valve", "hmean"]
    assert [float(v) for v in last[2:]] == [
        harmonic_mean(float(line[column]) for line in per_id) for column in (2, 3)
    ]
    assert result.score is not None
    assert result.score.hmean == pytest.approx(
        harmonic_mean(float(v) for line in per_id for v in line[2:])
    )
    assert result.remarks == ()


def test_every_opening_is_in_the_ledger(root: Path, tmp_path: Path, detector: Detector) -> None:
    for number in (1, 2):
        run(detector, source(root), tmp_path / "run", ("3",))
        entries = ledger(tmp_path / "run")
        assert len(entries) == number
        assert entries[-1]["command"] == "raysearch run"
        assert entries[-1]["test_ids"] == ["3"]
        assert entries[-1]["clips"] == 12
        assert entries[-1]["frozen"]["lr"] == 1e-3  # type: ignore[index]


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
    assert result.score is not None
    assert list(result.score.per_id) == ["3"]


def test_without_test_clips_nothing_is_opened(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shutil.rmtree(root / "eval_data/valve/source_test")
    result = run(detector, source(root), tmp_path / "run")
    assert result.score is None
    assert "no test clips" in result.remarks[0]
    assert list((tmp_path / "run").iterdir()) == []


def test_without_labels_there_are_scores_but_no_result(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    shutil.rmtree(root / "eval_data/ground_truth")
    result = run(detector, source(root), tmp_path / "run", ("3", "4"))
    assert result.score is None
    assert len(result.remarks) == 2
    assert len(list((tmp_path / "run" / "submission").glob("*.csv"))) == 4
    assert not (tmp_path / "run" / "final_test.csv").exists()


def test_labels_may_lie_elsewhere(root: Path, tmp_path: Path, detector: Detector) -> None:
    plain = run(detector, source(root), tmp_path / "run", ("3",))
    shutil.move(root / "eval_data/ground_truth", tmp_path / "truth")
    elsewhere = source(root, ground_truth=tmp_path / "truth")
    assert run(detector, elsewhere, tmp_path / "run", ("3",)) == plain


def test_a_defective_clip_is_left_out_where_that_is_allowed(
    root: Path, tmp_path: Path, detector: Detector
) -> None:
    first = clips_of(root, "3")[0]
    spoil(first)
    with pytest.raises(DataError, match=f"1 of 12 test clips .*{first.name}.*--allow-defects"):
        run(detector, source(root), tmp_path / "run", ("3",))
    result = run(detector, source(root, allow_defects=True), tmp_path / "run", ("3",))
    assert result.score is not None
    (remark,) = result.remarks
    assert first.name in remark
    path = tmp_path / "run/submission/anomaly_score_valve_section_03_source_test.csv"
    assert [name for name, _ in rows(path)] == [path.name for path in clips_of(root, "3")[1:]]


def test_each_domain_has_a_submission(root: Path, tmp_path: Path, detector: Detector) -> None:
    shutil.copytree(root / "dev_data/valve/source_test", root / "dev_data/valve/target_test")
    for path in (root / "dev_data/valve/target_test").iterdir():
        path.rename(path.with_name(path.name.replace("source", "target")))
    result = run(detector, source(root, domain="both"), tmp_path / "run", ("0",))
    assert result.score is not None
    for domain in ("source", "target"):
        path = tmp_path / "run/submission" / f"anomaly_score_valve_section_00_{domain}_test.csv"
        assert len(rows(path)) == 12
        assert all(f"_{domain}_" in name for name, _ in rows(path))


def test_ids_that_are_no_numbers_and_names_without_a_domain(
    tmp_path: Path, demo_data: Path
) -> None:
    clips = sorted((demo_data / "dev_data/valve/source_test").glob("section_00_*"))[3:9]
    for number, path in enumerate(clips):
        label = "abnormal" if "anomaly" in path.name else "normal"
        target = tmp_path / "data/valve/id_left" / label / f"{number:08d}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    run(make_detector(ids=("left",)), source(tmp_path / "data"), tmp_path / "run", ("left",))
    path = tmp_path / "run/submission/anomaly_score_valve_section_left_test.csv"
    assert len(rows(path)) >= 3
