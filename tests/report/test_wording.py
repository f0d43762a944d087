"""Short texts: the warning of few validation clips, the reasons of failed trials."""

from pathlib import Path

from raysearch.data.index import Clip
from raysearch.report.wording import failed_trials, few_clips_warning
from raysearch.study.records import Proposal
from raysearch.training.configuration import Configuration
from tests.records import complete, failed, row


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


def test_failed_trials_are_counted_by_their_reasons() -> None:
    proposals = [Proposal(n, Configuration(1e-3, 32, 1.0)) for n in range(4)]
    done = complete(proposals[0], row("gmm", 1, 0.5))
    assert failed_trials([done]) == ""
    reasons = ("it diverged", "out of GPU memory", "it diverged")
    records = [done, *(failed(p, r) for p, r in zip(proposals[1:], reasons, strict=True))]
    assert failed_trials(records) == (
        "3 of 4 trials failed: 2 times it diverged; out of GPU memory"
    )
