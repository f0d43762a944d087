"""Short texts: the warning of few validation clips."""

from pathlib import Path

from raysearch.data.index import Clip
from raysearch.report.wording import few_clips_warning


def clips(identity: str, normal: int, anomalous: int) -> list[Clip]:
    return [
        Clip("valve", identity, "test", "source", label, Path(f"{label}_{number}.wav"))
        for label, count in ((0, normal), (1, anomalous))
        for number in range(count)
    ]


def test_the_id_of_the_fewest_clips_is_named() -> None:
    warning = few_clips_warning([*clips("0", 20, 9), *clips("1", 1, 3)])
    assert warning.startswith("few validation clips: ID 1 has 1 normal and 3 anomalous, so each ")


def test_enough_clips_need_no_warning() -> None:
    assert few_clips_warning([*clips("0", 10, 10), *clips("1", 50, 10)]) == ""
    assert few_clips_warning(clips("0", 10, 9)) != ""
    assert few_clips_warning([]) == ""
