"""evidence/clips.csv says again what was written."""

from upath import UPath

from raysearch.report.clips.shown import (
    Part,
    ShownClip,
    evidence_folder,
    has_evidence,
    read_clips,
    write_clips,
)

CLIPS = [
    ShownClip("valve", "0", 'a,"b".wav', Part.VALIDATION, 1, 0.1 + 0.2, 1e-30, -1.5, 2.0),
    ShownClip("fan", "left", "ü.wav", Part.OTHER, 0, None, None, 0.0, -0.25),
]


def test_clips_come_back_in_every_digit(folder: UPath) -> None:
    assert not has_evidence(folder)
    write_clips(folder, CLIPS)
    assert has_evidence(folder)
    assert read_clips(folder) == CLIPS


def test_a_torn_folder_is_no_evidence(folder: UPath) -> None:
    torn = evidence_folder(folder) / "wrong" / "wrong.json"
    torn.parent.mkdir(parents=True)
    torn.write_text("[]")
    assert not has_evidence(folder)
    assert read_clips(folder) == []
