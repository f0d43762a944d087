"""Recordings of a search: none of the test clips of its test IDs, and enough for its scores."""

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from upath import UPath

from raysearch.config import Options
from raysearch.data.dataset import TrialData, open_data, parse_ids, search_index
from raysearch.data.decode import decode
from raysearch.data.ground_truth import read_ground_truth
from raysearch.data.index import read_index
from raysearch.data.source import Source, make_source
from raysearch.errors import DataError, UserError
from raysearch.storage import AnyPath, to_path
from tests.s3 import BUCKET, S3
from tests.shared import TRAIN_CLIPS

VALIDATION, TEST = ("0", "1", "2"), ("3", "4", "5")


@pytest.fixture
def root(tmp_path: Path, demo_data: Path) -> Path:
    """A copy of the data set, to delete files from."""
    return shutil.copytree(demo_data, tmp_path / "data", copy_function=os.link)


def source(root: AnyPath, **changes: object) -> Source:
    return replace(Source(root, "valve", VALIDATION), **changes)  # type: ignore[arg-type]


def remove(root: Path, pattern: str) -> None:
    paths = [path for path in root.rglob(pattern) if path.is_file()]
    assert paths
    for path in paths:
        path.unlink()


def overwrite(path: Path, content: bytes) -> None:
    path.unlink()  # it is a link to the recording of all tests
    path.write_bytes(content)


def secrets(root: Path) -> list[Path]:
    """List the test clips and labels of the test IDs, of every machine type."""
    paths = [p for p in (root / "eval_data").rglob("*.*") if p.parent.name != "train"]
    assert {path.suffix for path in paths} == {".wav", ".csv"}
    return paths


def hide(root: Path) -> None:
    for path in secrets(root):
        path.unlink()


def spoil(root: Path) -> None:
    for path in secrets(root):
        overwrite(path, b"garbage, 7\n")


def leave(root: Path) -> None:
    assert secrets(root)


def test_no_test_clip_but_those_of_validation_ids_is_in_the_index(root: Path) -> None:
    index = search_index(source(root))
    tests = Counter((c.machine, c.id, c.label) for c in index.clips if c.split == "test")
    assert tests == {("valve", i, label): 6 for i in VALIDATION for label in (0, 1)}
    names = {path for path in secrets(root) if path.suffix == ".wav"}
    assert not names & {clip.path for clip in index.clips}


@pytest.mark.parametrize("validation", [("0",), ("3", "5"), ("1", "4")])
def test_this_holds_whichever_ids_validate(root: Path, validation: tuple[str, ...]) -> None:
    index = search_index(source(root, validation_ids=validation))
    assert {c.id for c in index.clips if c.split == "test"} == set(validation)
    assert {c.label for c in index.clips if c.split == "test"} == {0, 1}
    assert index.ids("valve") == [*VALIDATION, *TEST]


def arrays(data: TrialData) -> list[NDArray[np.int16] | NDArray[np.int64]]:
    stores = (data.target, *data.others, data.validation)
    return [a for store in stores for a in (store.samples, store.offsets)]


@pytest.mark.parametrize("treat", [hide, spoil])
def test_a_search_hears_the_same_whatever_becomes_of_the_test_ids(
    tmp_path: Path, demo_data: Path, treat: Callable[[Path], None]
) -> None:
    opened = []
    for name, change in (("a", leave), ("b", treat)):
        copy = shutil.copytree(demo_data, tmp_path / name, copy_function=os.link)
        change(copy)
        opened.append(open_data(source(copy)))
    plain, treated = opened
    assert treated.fingerprint == plain.fingerprint
    assert treated.ids == plain.ids
    for left, right in zip(arrays(plain), arrays(treated), strict=True):
        np.testing.assert_array_equal(left, right)


def test_labels_of_unlabelled_validation_ids_come_from_the_ground_truth(
    tmp_path: Path, root: Path
) -> None:
    plain = open_data(source(root, validation_ids=TEST))
    # Beside the data set, and without any truth of other IDs or machines.
    shutil.move(root / "eval_data" / "ground_truth", tmp_path / "truth")
    for path in (tmp_path / "truth").iterdir():
        if "valve_section_03" not in path.name:
            overwrite(path, b"garbage")
    moved = source(root, validation_ids=("3",), ground_truth=tmp_path / "truth")
    labels = [c.label for c in open_data(moved).validation.clips]
    assert Counter(labels) == {0: 6, 1: 6}
    assert labels == [c.label for c in plain.validation.clips if c.id == "3"]


def test_labels_that_name_no_clip_are_refused(tmp_path: Path, root: Path) -> None:
    path = next((root / "eval_data" / "ground_truth").glob("*valve_section_03_source*"))
    overwrite(path, path.read_bytes().replace(b"section_03_", b"section_04_"))
    for other in path.parent.glob("*valve_section_03_target*"):
        other.unlink()
    with pytest.raises(DataError, match=r"ID 3 .* names none of its test clips: it has section_04"):
        search_index(source(root, validation_ids=("3",)))


def test_a_name_and_a_ground_truth_that_contradict_each_other_are_refused(root: Path) -> None:
    folder = root / "dev_data" / "valve" / "source_test"
    name = next(
        path.name for path in sorted(folder.iterdir()) if "00_source_test_anomaly" in path.name
    )
    (root / "ground_truth_valve_section_00_source_test.csv").write_text(f"{name},0\n")
    with pytest.raises(DataError, match=f"{name} has the label 1 by its name, but 0 by the ground"):
        search_index(source(root, validation_ids=("0", "3")))


def test_the_data_are_the_target_and_each_other_machine(demo_data: Path) -> None:
    data = open_data(source(demo_data))
    assert data.ids == (*VALIDATION, *TEST)
    assert {c.machine for c in data.target.clips} == {"valve"}
    assert [{c.machine for c in store.clips} for store in data.others] == [{"fan"}, {"pump"}]
    assert {c.split for store in (data.target, *data.others) for c in store.clips} == {"train"}
    assert len(data.target.clips) == 6 * TRAIN_CLIPS
    assert data.products.tolist() == [int(clip.id) for clip in data.target.clips]
    assert data.defects == ()


@pytest.mark.parametrize(
    ("domain", "clips"), [("source", TRAIN_CLIPS), ("target", 3), ("both", TRAIN_CLIPS + 3)]
)
def test_the_domain_decides_which_clips_train(root: Path, domain: str, clips: int) -> None:
    assert len(search_index(source(root, domain=domain)).train("valve")) == 6 * clips


@pytest.mark.parametrize(
    ("domain", "test_domain", "train", "tested"),
    [
        ("source", "target", {"source"}, {"target"}),
        ("source", "both", {"source"}, {"source", "target"}),
        ("both", "source", {"source", "target"}, {"source"}),
        ("target", None, {"target"}, {"target"}),
    ],
)
def test_test_clips_may_be_of_another_domain(
    root: Path, domain: str, test_domain: str | None, train: set[str], tested: set[str]
) -> None:
    shifted = root / "dev_data/valve/target_test"
    shutil.copytree(root / "dev_data/valve/source_test", shifted)
    for path in shifted.iterdir():
        path.rename(path.with_name(path.name.replace("source", "target")))
    index = search_index(source(root, domain=domain, test_domain=test_domain))
    assert {clip.domain for clip in index.train("valve")} == train
    assert {clip.domain for clip in index.test("valve", VALIDATION)} == tested
    assert {clip.id for clip in index.clips if clip.split == "test"} == set(VALIDATION)


def test_a_worker_opens_the_domain_of_test_clips_that_the_driver_indexed(root: Path) -> None:
    shifted = root / "dev_data/valve/target_test"
    shutil.copytree(root / "dev_data/valve/source_test", shifted)
    for path in shifted.iterdir():
        path.rename(path.with_name(path.name.replace("source", "target")))
    of = source(root, test_domain="target")
    driver, worker = open_data(of, index=search_index(of)), open_data(of)
    assert {clip.domain for clip in worker.validation.clips} == {"target"}
    assert worker.fingerprint == driver.fingerprint


def test_a_source_of_some_machine_types_reads_no_other(root: Path) -> None:
    before = open_data(source(root, machines=("valve", "fan")))
    assert [store.clips[0].machine for store in before.others] == ["fan"]
    remove(root, "pump/**/*")
    assert open_data(source(root, machines=("valve", "fan"))).fingerprint == before.fingerprint


def test_a_source_without_validation_ids_opens_no_test_clip(root: Path) -> None:
    for path in (*root.glob("*/valve/source_test/*.wav"), *root.rglob("*.csv")):
        overwrite(path, b"no recording")
    data = open_data(source(root, validation_ids=()))
    assert data.validation.clips == ()
    assert data.ids == (*VALIDATION, *TEST)


def test_the_domain_of_test_clips_is_that_of_all_unless_it_is_set(demo_data: Path) -> None:
    plain, same = source(demo_data), source(demo_data, test_domain="source")
    assert search_index(plain) == search_index(same)
    assert open_data(plain).fingerprint == open_data(same).fingerprint


def test_parts_normalise_by_their_own_machine_or_by_the_target(demo_data: Path) -> None:
    data = open_data(source(demo_data))
    train, validation = data.target_parts(0.25, 0)
    assert validation.clips.size == 6 * TRAIN_CLIPS / 4
    assert sorted([*train.clips, *validation.clips]) == list(range(6 * TRAIN_CLIPS))
    assert (
        (train.mean, train.std)
        == (validation.mean, validation.std)
        == (data.target.mean, data.target.std)
    )
    others, _ = data.other_parts("own", 0.25, 0)
    assert [p.std for p in others] == [store.std for store in data.others]
    forced, validation_others = data.other_parts("target", 0.25, 0)
    assert {p.std for p in (*forced, *validation_others)} == {data.target.std}
    assert [p.clips.size for p in validation_others] == [6 * TRAIN_CLIPS / 4] * 2


CHANGES: dict[str, Callable[[Path], None]] = {
    "training clip": lambda root: remove(root, "valve/train/section_04_source_train_*_0000_*"),
    "other machine": lambda root: remove(root, "fan/train/section_04_source_train_*_0000_*"),
    "validation clip": lambda root: remove(root, "valve/source_test/section_00_*_normal_0000*"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with_what_is_heard(
    root: Path, demo_data: Path, change: str
) -> None:
    CHANGES[change](root)
    assert open_data(source(root)).fingerprint != open_data(source(demo_data)).fingerprint


def test_the_fingerprint_changes_with_a_label(root: Path) -> None:
    before = open_data(source(root, validation_ids=("3",)))
    path = root / "eval_data/ground_truth/ground_truth_valve_section_03_source_test.csv"
    first, _, rest = path.read_text().partition("\n")
    overwrite(path, f"{first[:-1]}{1 - int(first[-1])}\n{rest}".encode())
    assert open_data(source(root, validation_ids=("3",))).fingerprint != before.fingerprint


def test_paths_become_absolute(demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_data.parent)
    options = Options(rate=16000, channel=0, domain="both", test_domain="target")
    absolute = make_source(Path("data"), "fan", ["1"], options, ground_truth=Path("truth"))
    assert absolute == Source(
        demo_data,
        "fan",
        ("1",),
        16000,
        0,
        "both",
        demo_data.parent / "truth",
        False,
        test_domain="target",
    )


def test_ids_of_a_space_file_have_one_spelling() -> None:
    assert parse_ids([0, "01", "x", 10]) == ("0", "1", "x", "10")


# Wrong uses


def refusal(recordings: Source) -> str:
    with pytest.raises(DataError) as caught:
        open_data(recordings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_machine_is_refused_with_the_nearest_name(demo_data: Path) -> None:
    message = refusal(source(demo_data, machine="vlave"))
    assert "unknown machine 'vlave'" in message
    assert "did you mean 'valve'?" in message
    message = refusal(source(demo_data, machine="zzz"))
    assert "did you mean" not in message
    assert "has fan, pump, valve" in message


def test_one_machine_type_alone_is_refused(root: Path) -> None:
    for folder in [*root.rglob("fan"), *root.rglob("pump")]:
        shutil.rmtree(folder)
    assert "one machine type only (valve)" in refusal(source(root))
    alone = make_source(root, "valve", VALIDATION, Options(method="serial"))
    assert open_data(alone).others == ()


def test_an_id_without_training_clips_is_refused(root: Path) -> None:
    remove(root, "valve/train/section_01_*")
    message = refusal(source(root))
    assert "ID 1 of valve has no training clips" in message
    assert "0, 2, 3, 4, 5" in message


def test_an_id_without_test_clips_is_refused(root: Path) -> None:
    remove(root, "valve/source_test/section_01_*")
    message = refusal(source(root))
    assert "ID 1 of valve has no usable test clips" in message
    assert "`validation_ids: []` in the space file" in message


def test_without_validation_ids_no_test_clip_is_opened(root: Path) -> None:
    healthy = source(root, validation_ids=())
    judged, data = open_data(source(root)), open_data(healthy)
    assert (data.validation.clips, data.validation.samples.size) == ((), 0)
    assert data.target.fingerprint == judged.target.fingerprint
    assert data.fingerprint != judged.fingerprint
    for path in root.rglob("*_test/*"):
        path.unlink()
    assert open_data(healthy).fingerprint == data.fingerprint


def test_an_id_without_labels_is_refused(root: Path) -> None:
    remove(root, "ground_truth_valve_section_04_*")
    message = refusal(source(root, validation_ids=("3", "4")))
    assert "ID 4 of valve" in message
    assert "--ground-truth" in message


@pytest.mark.parametrize(("label", "missing"), [("normal", "normal"), ("anomaly", "anomalous")])
def test_an_id_with_one_kind_of_clips_is_refused(root: Path, label: str, missing: str) -> None:
    remove(root, f"valve/source_test/section_02_*_{label}_*")
    assert f"ID 2 of valve has no usable {missing} test clips" in refusal(source(root))


def test_an_id_with_one_training_clip_is_refused(root: Path) -> None:
    remove(root, "valve/train/section_05_source_train_*_000[1-9]_*")
    assert "ID 5 of valve has 1 usable training clip" in refusal(source(root))


def test_defective_files_stop_unless_they_are_allowed(root: Path) -> None:
    paths = sorted((root / "dev_data/pump/train").glob("section_00_source_*"))
    overwrite(paths[0], b"garbage")
    assert f"1 of {6 * TRAIN_CLIPS} files are defective, the first {paths[0]}" in refusal(
        source(root)
    )
    data = open_data(source(root, allow_defects=True))
    assert [defect.path for defect in data.defects] == [str(paths[0])]
    assert len(data.others[1].clips) == 6 * TRAIN_CLIPS - 1


@pytest.mark.parametrize("label", ["normal", "anomaly"])
def test_validation_clips_that_cannot_be_decoded_are_not_counted(root: Path, label: str) -> None:
    for path in (root / "dev_data/valve/source_test").glob(f"section_02_*_{label}_*"):
        overwrite(path, b"garbage")
    assert "ID 2 of valve has no usable" in refusal(source(root, allow_defects=True))


def test_an_id_whose_training_clips_cannot_be_decoded_is_refused(root: Path) -> None:
    for path in (root / "eval_data/valve/train").glob("section_03_source_*"):
        overwrite(path, b"garbage")
    assert "ID 3 of valve has no usable" in refusal(source(root, allow_defects=True))


# Recordings on an object store


@pytest.fixture
def uploaded(s3: S3, root: Path, tmp_path: Path) -> UPath:
    """The copy of the data set on an object store."""
    remote = to_path(f"s3://{BUCKET}/{tmp_path.name}")
    remote.fs.put(f"{root}/", f"{remote.path}/", recursive=True)
    return remote


@pytest.mark.slow
def test_recordings_of_an_object_store_are_the_same(root: Path, uploaded: UPath) -> None:
    local, remote = read_index(root), read_index(uploaded)
    assert [replace(clip, path=root) for clip in remote.clips] == [
        replace(clip, path=root) for clip in local.clips
    ]
    assert [clip.path for clip in remote.clips] == [
        uploaded / str(Path(str(clip.path)).relative_to(root)) for clip in local.clips
    ]
    labels = read_ground_truth(uploaded, "valve", TEST)
    assert labels == read_ground_truth(root, "valve", TEST) != {}
    remote_source = make_source(uploaded, "valve", VALIDATION, Options())
    assert remote_source.root == uploaded
    assert open_data(remote_source).fingerprint == open_data(source(root)).fingerprint


@pytest.mark.slow
def test_recordings_of_an_object_store_are_read_once_until_they_change(
    s3: S3, uploaded: UPath
) -> None:
    def decoded() -> int:
        counts = [0]
        open_data(source(uploaded), counts.append)
        return sum(counts)

    clips = len(search_index(source(uploaded)).clips)
    assert (decoded(), decoded()) == (clips, 0)
    changed, other = sorted((uploaded / "dev_data/valve/train").iterdir())[:2]
    changed.write_bytes(other.read_bytes() + b"\0\0")
    assert decoded() == len(read_index(uploaded).train("valve"))


def test_what_an_object_store_does_not_give_is_no_defect(s3: S3) -> None:
    path = to_path(f"s3://{BUCKET}/nowhere/none.wav")
    with pytest.raises(UserError, match="cannot read s3://") as caught:
        decode(path, rate=16000)
    assert not isinstance(caught.value, DataError)


def test_held_out_clips_are_of_other_recordings_than_those_that_train(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for machine in ("press", "loom"):
        for recording, number in itertools.product(range(8), range(4)):
            path = tmp_path / machine / "id_0" / "normal" / f"r{recording}_{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 800), 16000)
    (tmp_path / "press/id_0/abnormal").mkdir()
    soundfile.write(tmp_path / "press/id_0/abnormal/x.wav", rng.normal(0, 0.1, 800), 16000)
    data = open_data(Source(tmp_path, "press", ("0",)))
    others = (part[0] for part in data.other_parts("own", 0.2, 0))
    for train, held_out in (data.target_parts(0.2, 0), tuple(others)):
        sides = [
            {part.store.clips[k].recording for k in part.clips.tolist()}
            for part in (train, held_out)
        ]
        assert sides[0]
        assert sides[1]
        assert not sides[0] & sides[1]
    test = {clip.recording for clip in data.validation.clips if clip.label == 0}
    assert test
    assert not test & {clip.recording for clip in data.target.clips}


def test_files_that_are_left_out_are_logged_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "dev_data" / "valve" / "Monday.wav").touch()
    for _ in range(2):
        search_index(source(root))
    open_data(source(root))
    (text,) = caplog.messages
    assert text.startswith(f"1 audio files or folders of {root} are left out, the first dev_data/")


def test_evaluation_clips_of_unknown_domain_are_logged(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search_index(source(root))
    assert caplog.messages == []
    folder = root / "eval_data" / "valve" / "test"
    folder.mkdir()
    for number in range(3):
        (folder / f"section_04_{number:04d}.wav").touch()
    search_index(source(root, domain="both"))
    assert caplog.messages == []
    search_index(source(root))
    assert caplog.messages == [
        "3 test clips of valve (IDs 4) do not tell their domain by their names, so domain: source "
        "takes all of them"
    ]


def test_recordings_that_are_there_twice_count_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = open_data(source(root))
    shutil.copytree(root / "dev_data" / "valve", root / "copy" / "valve")
    assert open_data(source(root)).fingerprint == plain.fingerprint
    assert caplog.messages == []
    index = search_index(source(root))
    assert len(index.train("valve")) == len(plain.target.clips)
    (text,) = caplog.messages
    assert "clips are in" in text
    assert "twice and used once, such as" in text
