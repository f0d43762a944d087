"""Two studies side by side."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from upath import UPath

from raysearch.errors import UserError
from raysearch.report.clips.shown import Part, ShownClip, write_clips
from raysearch.report.compare import Comparison, compare, show
from raysearch.study.folder import StudyFolder
from raysearch.study.scores import write_scores
from tests.runs import add, begin, conclude, final_scores, records, take_final_test


def clips(shift: float, count: int = 60) -> list[ShownClip]:
    """Of two IDs; anomalies lie higher by `shift`."""
    return [
        ShownClip("valve", str(n % 2), f"{n:03d}.wav", Part.VALIDATION, label, score, 1.0, 0.0, 0.0)
        for n in range(count)
        for label in [n // 2 % 2]
        for score in [(n * 7919 % 101) / 101 + shift * label]
    ]


def study(path: Path, shift: float | None) -> StudyFolder:
    found = begin(UPath(path))
    add(found, records())
    conclude(found)
    if shift is not None:
        write_clips(found.path, clips(shift))
    return found


def printed(comparison: Comparison) -> str:
    file = StringIO()
    show(comparison, Console(file=file, width=200))
    return file.getvalue()


def test_a_clear_difference_is_told_from_noise(tmp_path: Path) -> None:
    poor, good, same = (
        study(tmp_path / name, shift) for name, shift in (("a", 0.1), ("b", 0.9), ("c", 0.11))
    )
    [found] = compare(poor.path, good.path).differences
    assert (found.on, found.clips, found.alone) == ("validation", 60, 0)
    assert found.verdict == "the second is better"
    assert 0 < found.low < found.second - found.first < found.high
    [back] = compare(good.path, poor.path).differences
    assert back.verdict == "the first is better"
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    [noise] = compare(poor.path, same.path).differences
    assert noise.verdict == "within noise"
    assert noise.low <= 0 <= noise.high


def test_only_clips_that_both_scored_count(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    write_clips(other.path, [*clips(0.5)[4:], replace(clips(0.5)[0], clip="new.wav")])
    [found] = compare(one.path, other.path).differences
    assert (found.clips, found.alone) == (56, 5)
    assert found.first == found.second


def test_final_tests_are_compared_and_no_ground_to_choose(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a", 0.5), study(tmp_path / "b", None)
    scores = final_scores()
    take_final_test(one, scores)
    take_final_test(other, [replace(s, score=s.score + 2 * (s.label or 0)) for s in scores])
    found = compare(one.path, other.path)
    [final] = found.differences
    assert (final.on, final.clips, final.verdict) == ("final test", 120, "the second is better")
    text = printed(found)
    assert "note: validation: no clips that both scored" in text
    assert "note: choose by validation" in text


def test_configurations_and_costs_stand_side_by_side(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    lines = printed(compare(one.path, other.path)).splitlines()
    assert lines[0].split() == [str(one.path), str(other.path)]
    named = [line.split("  ")[0] for line in lines[1:10]]
    assert named == [
        *("lr", "batch size", "λ", "inlier model", "p", "trials", "epochs trained"),
        *("device hours", "validation score"),
    ]
    assert "8 complete, 1 pruned, 1 fail" in lines[6]


def test_labels_that_are_unknown_are_left_out(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a", None), study(tmp_path / "b", None)
    for folder in (one, other):
        take_final_test(folder, final_scores())
    scores = [replace(s, label=None) if s.id == "3" else s for s in final_scores()]
    write_scores(other.path / "final_scores.csv", scores)
    [final] = compare(one.path, other.path).differences
    assert (final.clips, final.alone) == (80, 40)


def test_other_recordings_are_said(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    text = (other.path / "frozen.json").read_text()
    (other.path / "frozen.json").write_text(text.replace("f" * 64, "e" * 64))
    assert "they were searched on different recordings" in compare(one.path, other.path).notes


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one, begun = study(tmp_path / "a", 0.5), begin(UPath(tmp_path / "b"))
    with pytest.raises(UserError, match="b has no frozen configuration yet; let its run end"):
        compare(one.path, begun.path)
    with pytest.raises(UserError, match="c holds no study"):
        compare(one.path, UPath(tmp_path / "c"))
    fan = begin(UPath(tmp_path / "fan"), machine="fan")
    add(fan, records())
    conclude(fan, "fan")
    with pytest.raises(UserError, match="only studies of one machine type hear"):
        compare(one.path, fan.path)
