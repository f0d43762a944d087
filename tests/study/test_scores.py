"""Scores of a final test: hand-computed results, final_scores.csv and final_test.csv."""

import numpy as np
import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.storage import write_text
from raysearch.study.scores import (
    FinalScore,
    FinalTest,
    IdResult,
    judge,
    read_final,
    read_scores,
    write_final,
    write_scores,
)

SCORES = [
    FinalScore("3", 'a "clip", so.wav', "source", 1, 0.1 + 0.2, -1e-300, 1),
    FinalScore("left", "ü.wav", "unknown", None, -2.0, 0.5, 0, "not a readable audio file"),
]


def test_scores_come_back_in_every_digit(folder: UPath) -> None:
    write_scores(folder / "final_scores.csv", SCORES)
    assert read_scores(folder / "final_scores.csv") == SCORES
    head, *_ = (folder / "final_scores.csv").read_text("utf-8").splitlines()
    assert head == "id,clip,domain,label,score,threshold,decision,error"


def test_without_the_file_there_are_none(folder: UPath) -> None:
    assert read_scores(folder / "final_scores.csv") == []


@pytest.mark.parametrize("label", ["2", "-1", "x", "0.5"])
def test_a_label_is_0_or_1_or_missing(folder: UPath, label: str) -> None:
    path = folder / "final_scores.csv"
    write_scores(path, SCORES)
    write_text(path, path.read_text("utf-8").replace(",source,1,", f",source,{label},"))
    with pytest.raises(UserError, match=r"final_scores\.csv: damaged"):
        read_scores(path)


# Results of test IDs


def scored(identity: str, *rows: tuple[int | None, float]) -> list[FinalScore]:
    """Make scored clips a, b, c ... of an ID; None is a clip without label."""
    return [
        FinalScore(identity, f"{name}.wav", "source", label, score, 0.5, int(score > 0.5))
        for name, (label, score) in zip("abcdefgh", rows, strict=False)
    ]


# One of the four pairs of a normal and an anomaly is in the wrong order: AUC 3/4. Half of the
# anomalies score above every normal, so A = 0.1 / 2, and pAUC = (1 + (A - 0.005) / 0.095) / 2.
ROWS = ((0, 0.1), (0, 0.6), (1, 0.5), (1, 0.9))
AUC, PAUC = 3 / 4, 14 / 19


def test_the_result_of_an_id_is_that_of_its_labelled_clips() -> None:
    result = judge(scored("3", *ROWS), ["3"])
    (row,) = result.ids
    assert (row.id, row.normal, row.anomalous, row.unlabelled, row.note) == ("3", 2, 2, 0, "")
    assert row.areas == pytest.approx((AUC, PAUC))
    assert result.score == pytest.approx(2 / (1 / AUC + 1 / PAUC))
    assert result.note == ""


def test_an_id_has_a_result_only_with_both_areas() -> None:
    assert IdResult("3", 0.75, 0.5).areas == (0.75, 0.5)
    for result in (IdResult("3", 0.75), IdResult("3", pauc=0.5), IdResult("3")):
        assert result.areas is None


def test_each_id_is_judged_by_itself() -> None:
    perfect = [(label, 1e6 * (score + 100 * label)) for label, score in ROWS]
    result = judge([*scored("3", *ROWS), *scored("10", *perfect)], ["10", "3"])
    assert list(result.areas) == ["3", "10"]
    assert result.areas["10"] == (1.0, 1.0)
    assert result.score == pytest.approx(4 / (1 / AUC + 1 / PAUC + 2))


def test_clips_without_a_label_are_left_out_and_counted() -> None:
    (row,) = judge(scored("3", *ROWS, (None, -50.0)), ["3"]).ids
    assert row.auc == pytest.approx(AUC)
    assert (row.unlabelled, row.note) == (1, "labels of 4 of 5 clips")


@pytest.mark.parametrize(
    ("clips", "note"),
    [
        ([], "no test clips"),
        (scored("4", (None, 0.1), (None, 0.2)), "no labels"),
        (scored("4", (0, 0.1), (0, 0.2)), "labelled clips are all of one kind"),
        (
            scored("4", (1, 0.1), (None, 0.2)),
            "labelled clips are all of one kind, labels of 1 of 2 clips",
        ),
    ],
)
def test_a_score_over_fewer_ids_says_so(clips: list[FinalScore], note: str) -> None:
    alone = judge(clips, ["4"])
    assert (alone.score, alone.ids[0].note) == (None, note)
    both = judge([*clips, *scored("3", *ROWS)], ["3", "4"])
    assert list(both.areas) == ["3"]
    assert both.note == f"over 1 of 2 test IDs; ID 4: {note}"


def test_a_result_comes_back_in_every_digit(folder: UPath) -> None:
    result = judge([*scored("3", *ROWS, (None, 1.0)), *scored("4", (0, 0.1))], ["3", "4", "5"])
    write_final(folder / "final_test.csv", "valve", result)
    assert read_final(folder / "final_test.csv") == result
    last = (folder / "final_test.csv").read_text("utf-8").splitlines()[-1]
    assert last.startswith(f"valve,hmean,{AUC!r},{result.areas['3'][1]!r},,,,,,")
    assert "over 1 of 3 test IDs; ID 3: labels of 4 of 5 clips;" in last


def test_an_interval_takes_ten_clips_of_each_kind(folder: UPath) -> None:
    rng = np.random.default_rng(0)
    clips = [
        FinalScore("3", f"{n}.wav", "source", n % 2, float(rng.normal(n % 2)), 0.5, 0)
        for n in range(40)
    ]
    result = judge(clips, ["3"])
    (row,) = result.ids
    assert row.low is not None
    assert row.high is not None
    assert result.score is not None
    assert row.low < result.score < row.high
    assert result.interval == (row.low, row.high)
    write_final(folder / "final_test.csv", "valve", result)
    assert read_final(folder / "final_test.csv") == result
    assert judge(clips[:18], ["3"]).interval is None


def test_a_result_of_an_earlier_version_is_read(folder: UPath) -> None:
    text = "machine,id,auc,pauc\nvalve,3,0.75,0.5\nvalve,hmean,0.75,0.5\n"
    write_text(folder / "final_test.csv", text)
    assert read_final(folder / "final_test.csv") == FinalTest((IdResult("3", 0.75, 0.5),))
    assert read_final(folder / "none.csv") == FinalTest()
