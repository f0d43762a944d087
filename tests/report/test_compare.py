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
from tests.runs import add, begin, conclude, final_scores, records, take_final_test


def clips(shift: float, count: int = 60) -> list[ShownClip]:
    """Clips of two IDs; anomalies score higher by `shift`."""
    return [
        ShownClip("valve", str(n % 2), f"{n:03d}.wav", Part.VALIDATION, label, score, 1.0, 0.0, 0.0)
        for n in range(count)
        for label in [n // 2 % 2]
        for score in [(n * 7919 % 101) / 101 + shift * label]
    ]


def study(path: Path, shift: float | None) -> StudyFolder:
    folder = begin(UPath(path))
    add(folder, records())
    conclude(folder)
    if shift is not None:
        write_clips(folder.path, clips(shift))
    return folder


def printed(comparison: Comparison) -> str:
    file = StringIO()
    show(comparison, Console(file=file, width=200))
    return file.getvalue()


def test_a_clear_difference_is_told_from_noise(tmp_path: Path) -> None:
    poor, good, same = (
        study(tmp_path / name, shift) for name, shift in (("a", 0.1), ("b", 0.9), ("c", 0.11))
    )
    [difference] = compare(poor.path, good.path).differences
    assert (difference.split, difference.clips, difference.unpaired) == ("validation", 60, 0)
    assert difference.verdict == "the second detector is better"
    low, high = difference.low or 0, difference.high or 0
    assert 0 < low < difference.second - difference.first < high
    [back] = compare(good.path, poor.path).differences
    assert back.verdict == "the first detector is better"
    assert (back.low, back.high) == pytest.approx((-high, -low))
    [noise] = compare(poor.path, same.path).differences
    assert noise.verdict == "within noise"
    assert noise.low is not None
    assert noise.low <= 0 <= (noise.high or 0)


def test_few_clips_have_no_verdict(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 0.1), study(tmp_path / "b", 0.9)
    for folder, shift in ((first, 0.1), (second, 0.9)):
        write_clips(folder.path, clips(shift, count=20))
    comparison = compare(first.path, second.path)
    [difference] = comparison.differences
    assert (difference.low, difference.high) == (None, None)
    assert difference.verdict.startswith("too few clips for an interval: ")
    assert "interval +" not in printed(comparison)
    assert not any("one seed" in note for note in comparison.notes)


def test_only_clips_that_both_scored_count(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    write_clips(second.path, [*clips(0.5)[4:], replace(clips(0.5)[0], clip="new.wav")])
    [difference] = compare(first.path, second.path).differences
    assert (difference.clips, difference.unpaired) == (56, 5)
    assert difference.first == difference.second


def test_final_tests_are_compared_and_no_ground_to_choose(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 0.5), study(tmp_path / "b", None)
    scores = final_scores()
    take_final_test(first, scores)
    take_final_test(second, [replace(s, score=s.score + 2 * (s.label or 0)) for s in scores])
    comparison = compare(first.path, second.path)
    [final] = comparison.differences
    assert (final.split, final.clips, final.verdict) == (
        "final test",
        120,
        "the second detector is better",
    )
    text = printed(comparison)
    assert "note: each detector is one seed: no claim about the configurations" in text
    assert "note: validation: no clips that both scored" in text
    assert "note: choose by validation" in text


def test_configurations_and_costs_stand_side_by_side(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    lines = printed(compare(first.path, second.path)).splitlines()
    assert lines[0].split() == [str(first.path), str(second.path)]
    named = [line.split("  ")[0] for line in lines[1:11]]
    assert named == [
        *("method", "lr", "batch size", "λ", "inlier model", "p", "trials", "epochs trained"),
        *("device hours", "validation score"),
    ]
    assert "8 complete, 1 pruned, 1 fail" in lines[7]


def test_labels_that_are_unknown_are_left_out(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", None), study(tmp_path / "b", None)
    take_final_test(first, final_scores())
    scores = [replace(s, label=None) if s.id == "3" else s for s in final_scores()]
    take_final_test(second, scores)
    [final] = compare(first.path, second.path).differences
    assert (final.clips, final.unpaired) == (80, 40)


def test_other_recordings_are_said(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a", 0.5), study(tmp_path / "b", 0.5)
    text = (second.path / "frozen.json").read_text()
    (second.path / "frozen.json").write_text(text.replace("f" * 64, "e" * 64))
    assert "they were searched on different recordings" in compare(first.path, second.path).notes


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    first, begun = study(tmp_path / "a", 0.5), begin(UPath(tmp_path / "b"))
    with pytest.raises(UserError, match="b has no frozen configuration yet; let its run end"):
        compare(first.path, begun.path)
    with pytest.raises(UserError, match="c holds no study"):
        compare(first.path, UPath(tmp_path / "c"))
    fan = begin(UPath(tmp_path / "fan"), machine="fan")
    add(fan, records())
    conclude(fan, "fan")
    with pytest.raises(UserError, match="only studies of one machine type score"):
        compare(first.path, fan.path)
