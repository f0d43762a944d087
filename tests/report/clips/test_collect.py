"""Single clips of a report, collected from a real data set by an untrained detector."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from raysearch.data.dataset import TrialData
from raysearch.detector import EncoderDetector
from raysearch.report.clips import collect
from raysearch.report.clips.collect import collect_clips
from raysearch.report.clips.misclassified import read_misclassified
from raysearch.report.clips.shown import Part, ShownClip, read_clips
from raysearch.storage import to_path
from tests.command import digests
from tests.detectors import make_detector
from tests.tiny import open_valve

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Gathered:
    detector: EncoderDetector
    data: TrialData
    run: UPath
    clips: list[ShownClip]
    counted: int


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Gathered:
    data = open_valve(demo_data)
    untrained = make_detector(ids=data.ids)
    detector = replace(untrained, mean=data.target.mean, std=data.target.std)
    run, counted = to_path(tmp_path_factory.mktemp("run")), list[int]()
    collect_clips(detector, data, 0, run, counted.append)
    return Gathered(detector, data, run, read_clips(run), sum(counted))


def test_every_clip_that_the_encoder_did_not_train_on_is_there(gathered: Gathered) -> None:
    data, options = gathered.data, gathered.detector.options
    assert gathered.counted == len(gathered.clips)
    names = {part: [c.clip for c in gathered.clips if c.part is part] for part in Part}
    assert names[Part.VALIDATION] == [clip.name for clip in data.validation.clips]
    trained, held_out = data.target_parts(options.validation_share, 0)
    assert names[Part.HELD_OUT] == [data.target.clips[i].name for i in held_out.clips]
    assert not {data.target.clips[i].name for i in trained.clips} & set(names[Part.HELD_OUT])
    others = {clip.machine for clip in gathered.clips if clip.part is Part.OTHER}
    assert others == {"fan", "pump"}


def test_no_clip_of_a_test_id_is_there_but_training_clips(gathered: Gathered) -> None:
    of_tests = [c for c in gathered.clips if c.machine == "valve" and c.id in "345"]
    assert {clip.part for clip in of_tests} == {Part.HELD_OUT}


def test_scores_and_thresholds_are_the_detectors(gathered: Gathered) -> None:
    detector = gathered.detector
    shown = [clip for clip in gathered.clips if clip.part is Part.VALIDATION]
    for shown_clip, clip in list(zip(shown, gathered.data.validation.clips, strict=True))[::7]:
        score, _ = detector.score_file(clip.path, clip.id)
        assert shown_clip.score == pytest.approx(score, rel=1e-4)
        assert shown_clip.threshold == detector.thresholds[clip.id]
        assert shown_clip.label == clip.label
    assert {c.score for c in gathered.clips if c.part is Part.OTHER} == {None}
    assert np.isfinite([(clip.x, clip.y) for clip in gathered.clips]).all()


def test_the_worst_wrong_are_validation_clips_with_their_own_sound(gathered: Gathered) -> None:
    worst = read_misclassified(gathered.run)
    assert 0 < len(worst) <= 5
    shares = [wrong.beyond / wrong.others for wrong, _, _ in worst]
    assert shares == sorted(shares, reverse=True)
    for wrong, _, _ in worst:
        assert wrong.id in "012"
        assert wrong.seconds == pytest.approx(3.0)
        assert (wrong.score <= wrong.threshold) == bool(wrong.label)


def test_again_replaces_all_and_gives_the_same(gathered: Gathered, tmp_path: Path) -> None:
    run = to_path(tmp_path / "run")
    stale = run / "evidence" / "wrong" / "9.flac"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another winner")
    collect_clips(gathered.detector, gathered.data, 0, run, lambda clips: None)
    assert digests(Path(str(run))) == digests(Path(str(gathered.run)))


def test_a_large_data_set_is_thinned_evenly(
    gathered: Gathered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {Part.VALIDATION: 6, Part.HELD_OUT: 3, Part.OTHER: 2}
    monkeypatch.setattr(collect, "MAX_CLIPS", most)
    collect_clips(gathered.detector, gathered.data, 0, to_path(tmp_path), lambda clips: None)
    clips = read_clips(to_path(tmp_path))
    counts = {part: sum(clip.part is part for clip in clips) for part in Part}
    assert counts == {Part.VALIDATION: 6, Part.HELD_OUT: 3, Part.OTHER: 4}
    assert {clip.id for clip in clips if clip.part is Part.VALIDATION} == {"0", "1", "2"}
