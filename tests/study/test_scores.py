"""Reading and writing of final_scores.csv."""

from upath import UPath

from raysearch.study.scores import FinalScore, read_scores, write_scores

SCORES = [
    FinalScore("3", 'a "clip", so.wav', "source", 1, 0.1 + 0.2, -1e-300, 1),
    FinalScore("left", "ü.wav", "unknown", None, -2.0, 0.5, 0),
]


def test_scores_come_back_in_every_digit(folder: UPath) -> None:
    write_scores(folder / "final_scores.csv", SCORES)
    assert read_scores(folder / "final_scores.csv") == SCORES
    head, *_ = (folder / "final_scores.csv").read_text("utf-8").splitlines()
    assert head == "id,clip,domain,label,score,threshold,decision"


def test_without_the_file_there_are_none(folder: UPath) -> None:
    assert read_scores(folder / "final_scores.csv") == []
