"""The worst wrong clips: which they are, and what is kept of them."""

import io
from dataclasses import replace

import numpy as np
import soundfile
from PIL import Image
from upath import UPath

from raysearch.report.clips.media import flac, log_mel, spectrogram_png, write_misclassified
from raysearch.report.clips.misclassified import (
    Misclassified,
    MisclassifiedClip,
    read_misclassified,
    worst_misclassified,
)
from raysearch.report.clips.shown import Part, ShownClip
from tests.detectors import make_detector


def clip(label: int, score: float, identity: str = "0", threshold: float = 1.0) -> ShownClip:
    return ShownClip("valve", identity, "a.wav", Part.VALIDATION, label, score, threshold, 0.0, 0.0)


def test_who_is_beyond_most_of_the_other_kind_comes_first() -> None:
    normal = [clip(0, score) for score in (0.1, 0.2, 0.3, 2.0)]  # the last is accused
    anomalous = [clip(1, score) for score in (0.15, 0.9, 1.5, 3.0, 4.0)]  # two are missed
    assert worst_misclassified([*normal, *anomalous]) == [
        Misclassified(4, 3, 4),  # 0.2, 0.3 and 2.0 lie above 0.15
        Misclassified(3, 3, 5),  # 0.15, 0.9 and 1.5 below 2.0
        Misclassified(5, 1, 4),
    ]
    assert worst_misclassified([*normal, *anomalous], 1) == [Misclassified(4, 3, 4)]


def test_ids_compare_whatever_the_size_of_their_scores() -> None:
    large = [clip(0, 1100.0, "1"), clip(0, 0.0, "1"), clip(1, 1e9, "1"), clip(1, 0.5, "1")]
    small = [clip(0, 0.98), clip(1, 0.97)]
    assert worst_misclassified([*large, *small]) == [
        Misclassified(5, 1, 1),
        Misclassified(0, 1, 2),
        Misclassified(3, 1, 2),
    ]


def test_a_clip_at_the_threshold_is_called_normal() -> None:
    clips = [clip(0, 1.0), clip(1, 1.0), clip(1, 2.0)]
    assert worst_misclassified(clips) == [Misclassified(1, 1, 1)]


def test_where_all_clips_are_judged_right_there_are_none() -> None:
    assert worst_misclassified([clip(0, 0.5), clip(1, 1.5)]) == []


def test_sound_and_picture_come_back(folder: UPath) -> None:
    detector = make_detector()
    wave = (1000 * np.sin(np.arange(48000) / 3)).astype(np.int16)
    wrong = MisclassifiedClip("0", "a.wav", 1, -3.0, 1.0, 9, 10, 3.0, 50.0, 7800.0)
    write_misclassified(folder, [wrong, replace(wrong, label=0)], [wave, wave[:4000]], detector)
    (first, sound, image), (second, short, _) = read_misclassified(folder)
    assert (first, second.label) == (wrong, 0)
    heard, rate = soundfile.read(io.BytesIO(sound), dtype="int16")
    assert rate == 16000
    assert np.array_equal(heard, wave)
    assert soundfile.info(io.BytesIO(short)).frames == 4000
    assert Image.open(io.BytesIO(image)).size == log_mel(wave, detector).shape[::-1]


def test_without_the_folder_there_are_none(folder: UPath) -> None:
    assert read_misclassified(folder) == []


def test_loud_is_bright_and_low_frequencies_lie_at_the_bottom() -> None:
    spectrogram = np.zeros((4, 6), np.float32)
    spectrogram[0, :3] = 1.0  # the lowest band, in the first half
    shown = np.asarray(Image.open(io.BytesIO(spectrogram_png(spectrogram))).convert("L"), dtype=int)
    assert shown.shape == (4, 6)
    assert shown[-1, :3].min() > 200
    assert shown[:-1].max() < 20
    assert shown[-1, 3:].max() < 20


def test_a_picture_of_silence_is_dark() -> None:
    shown = Image.open(io.BytesIO(spectrogram_png(np.full((4, 6), -11.5, np.float32))))
    assert np.asarray(shown.convert("L")).max() < 20


def test_a_flac_holds_the_samples_as_they_are() -> None:
    wave = np.array([0, 32767, -32768, 1], np.int16)
    heard, rate = soundfile.read(io.BytesIO(flac(wave, 8000)), dtype="int16")
    assert (heard.tolist(), rate) == (wave.tolist(), 8000)
