"""Names of clips, as in five kinds of data sets, and their labels."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.config import id_order
from raysearch.data.index import Clip, parse, product_id, read_index
from raysearch.data.plain import PLAIN_TEST_SHARE
from raysearch.errors import UserError

# path -> machine, ID, split, domain, label
NAMES = {
    # DCASE 2020
    "dev_data/fan/train/normal_id_00_00000000.wav": ("fan", "0", "train", "unknown", 0),
    "fan/test/normal_id_00_00000012.wav": ("fan", "0", "test", "unknown", 0),
    "fan/test/anomaly_id_06_00000012.wav": ("fan", "6", "test", "unknown", 1),
    "eval_data/ToyConveyor/test/id_05_00000000.wav": ("ToyConveyor", "5", "test", "unknown", None),
    # DCASE 2021: attributes of any kind, missing, ending in "_"
    "dev_data/gearbox/train/section_00_source_train_normal_0000_0_g_25_mm_2000_mV_none.wav": (
        ("gearbox", "0", "train", "source", 0)
    ),
    "dev_data/fan/train/section_01_target_train_normal_0002_strength_1_ambient.wav": (
        ("fan", "1", "train", "target", 0)
    ),
    "eval_data/fan/train/section_05_source_train_normal_0999.wav": (
        ("fan", "5", "train", "source", 0)
    ),
    "eval_data/fan/train/section_05_source_train_normal_0999_.wav": (
        ("fan", "5", "train", "source", 0)
    ),
    # Attributes that look like other parts of a name
    "dev_data/fan/train/section_01_source_train_normal_0003_test_anomaly_target.wav": (
        ("fan", "1", "train", "source", 0)
    ),
    "dev_data/fan/source_test/section_02_source_test_anomaly_0099.wav": (
        ("fan", "2", "test", "source", 1)
    ),
    "dev_data/fan/target_test/section_02_target_test_normal_0000.wav": (
        ("fan", "2", "test", "target", 0)
    ),
    "eval_data/fan/source_test/section_03_source_test_0000.wav": (
        ("fan", "3", "test", "source", None)
    ),
    # DCASE 2022, 2023: one folder of tests
    "dev_data/bearing/train/section_00_target_train_normal_0001_vel_25_loc_A.wav": (
        ("bearing", "0", "train", "target", 0)
    ),
    "dev_data/bearing/test/section_00_source_test_anomaly_0001_vel_25_loc_A.wav": (
        ("bearing", "0", "test", "source", 1)
    ),
    "dev_data/bearing/test/section_00_target_test_normal_0001_m-n_W.wav": (
        ("bearing", "0", "test", "target", 0)
    ),
    "eval_data/bearing/test/section_03_0000.wav": ("bearing", "3", "test", "unknown", None),
    "eval_data/bearing/test/section_03_test_0000.wav": ("bearing", "3", "test", "unknown", None),
    # MIMII and people's own
    "0dB/pump/id_02/abnormal/00000000.wav": ("pump", "2", "test", "unknown", 1),
    "my press/id_left-2/abnormal/Monday 3.flac": ("my press", "left-2", "test", "unknown", 1),
    "press/id_my_unit/abnormal/a.WAV": ("press", "my_unit", "test", "unknown", 1),
    # IDs that are no numbers
    "fan/train/section_A7_source_train_normal_0000.wav": ("fan", "A7", "train", "source", 0),
    "fan/train/normal_id_B_00000000.wav": ("fan", "B", "train", "unknown", 0),
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_machine_id_split_domain_and_label(name: str) -> None:
    assert parse(Path(name)) == Clip(*NAMES[name], path=Path(name))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "section_00_source_train_normal_0000.wav",
        "train/section_00_source_train_normal_0000.wav",
        "fan/train/music.wav",
        "fan/section_00/section_00_source_train_normal_0000.wav",
        "fan/id_00/unsure/00000000.wav",
    ],
)
def test_a_name_of_no_known_layout_is_no_clip(name: str) -> None:
    assert parse(Path(name)) is None


@pytest.mark.parametrize(
    ("text", "identity"),
    [("03", "3"), (3, "3"), ("00", "0"), ("0", "0"), ("10", "10"), ("A1", "A1"), ("-1", "-1")],
)
def test_an_id_has_one_spelling(text: str | int, identity: str) -> None:
    assert product_id(text) == identity


def test_ids_are_sorted_by_value_then_by_name() -> None:
    assert sorted(["B", "20", "3", "A", "10"], key=id_order) == ["3", "10", "20", "A", "B"]


def test_the_index_holds_every_clip_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, *NAMES, "README.md", "fan/train/section_00_source_train_normal_0000.txt")
    index = read_index(tmp_path, domain="both")
    names = {Path(str(c.path)).relative_to(tmp_path).as_posix() for c in index.clips}
    assert names == set(NAMES)
    assert index.machines == ["bearing", "fan", "gearbox"]


@pytest.mark.parametrize(
    ("domain", "kept"),
    [
        ("source", {"source", "unknown"}),
        ("target", {"target", "unknown"}),
        ("both", {"source", "target", "unknown"}),
    ],
)
def test_the_domain_is_selected_and_clips_without_one_stay(
    tmp_path: Path, domain: str, kept: set[str]
) -> None:
    touch(tmp_path, *NAMES)
    assert {c.domain for c in read_index(tmp_path, domain=domain).clips} == kept


def test_ids_may_have_gaps_and_be_numbered_like_anything(tmp_path: Path) -> None:
    ids = ["20", "01", "13", "04", "x"]
    touch(tmp_path, *(f"fan/train/section_{i}_source_train_normal_0000.wav" for i in ids))
    index = read_index(tmp_path)
    assert index.ids("fan") == ["1", "4", "13", "20", "x"]
    assert [c.id for c in index.train("fan")] == ["1", "4", "13", "20", "x"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    name = "fan/train/section_00_source_train_normal_0000.wav"
    touch(tmp_path, name, f".unfinished/{name}", f"dev_data/.trash/{name}")
    touch(tmp_path, "fan/train/._section_00_source_train_normal_0000.wav")
    assert [c.path for c in read_index(tmp_path).clips] == [tmp_path / name]


def test_a_data_set_below_a_hidden_folder_is_read(tmp_path: Path) -> None:
    root = tmp_path / ".local" / "data"
    touch(root, "fan/train/section_00_source_train_normal_0000.wav")
    assert len(read_index(root).clips) == 1


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    names = [f"fan/train/section_00_source_train_normal_{n:04d}.wav" for n in range(20)]
    touch(tmp_path, *reversed(names))
    assert [c.path for c in read_index(tmp_path).clips] == [tmp_path / name for name in names]


@pytest.mark.parametrize("name", ["readme.txt", "fan/train/music.wav"])
def test_a_folder_without_clips_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(UserError, match="no clip in"):
        read_index(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        read_index(tmp_path / "missing")


def test_a_domain_without_clips_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "fan/train/section_00_source_train_normal_0000.wav")
    with pytest.raises(UserError, match="domain 'target'"):
        read_index(tmp_path, domain="target")


def plain_name(number: int, condition: str = "normal") -> Path:
    return Path("press", "id_01", condition, f"{number:08d}.wav")


def test_the_plain_layout_keeps_some_normals_for_testing() -> None:
    clips = [parse(plain_name(n)) for n in range(2000)]
    held_out = sum(c is not None and c.split == "test" for c in clips) / len(clips)
    assert held_out == pytest.approx(PLAIN_TEST_SHARE, abs=0.03)
    assert all(c is not None and c.label == 0 for c in clips)


def test_the_plain_split_depends_on_the_seed() -> None:
    splits = [[parse(plain_name(n), seed=s) for n in range(100)] for s in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_abnormal_clips_never_train() -> None:
    clips = [parse(plain_name(n, "abnormal")) for n in range(200)]
    assert {(c.split, c.label) for c in clips if c is not None} == {("test", 1)}


def test_the_plain_split_of_a_clip_is_free_of_other_files_and_of_the_root(tmp_path: Path) -> None:
    few, many = tmp_path / "a", tmp_path / "b" / "0dB"
    touch(few, *(plain_name(n).as_posix() for n in range(10, 40)))
    touch(many, *(plain_name(n).as_posix() for n in range(100)), "other/id_01/normal/x.wav")
    split = {c.name: c.split for c in read_index(few).clips}
    assert len(set(split.values())) == 2
    larger = {c.name: c.split for c in read_index(many.parent).clips if c.machine == "press"}
    assert len(larger) == 100
    assert split.items() <= larger.items()


def test_a_search_sees_no_test_clip_but_those_of_its_validation_ids(tmp_path: Path) -> None:
    for machine in ("fan", "pump"):
        for i in range(6):
            touch(
                tmp_path,
                f"{machine}/train/section_{i:02d}_source_train_normal_0000.wav",
                f"{machine}/source_test/section_{i:02d}_source_test_anomaly_0000.wav",
            )
    seen = read_index(tmp_path).for_search("fan", ["0", "2"])
    tests = {(c.machine, c.id) for c in seen.clips if c.split == "test"}
    assert tests == {("fan", "0"), ("fan", "2")}
    assert len(seen.train("fan")) == len(seen.train("pump")) == 6
    assert seen.test("fan", ["1"]) == []


ATTRIBUTES = st.text("abcXYZ019._-", max_size=12)


@given(section=st.integers(0, 99), number=st.integers(0, 9999), attributes=ATTRIBUTES)
def test_no_attribute_changes_what_a_name_says(section: int, number: int, attributes: str) -> None:
    stem = f"section_{section:02d}_source_train_normal_{number:04d}"
    clip = parse(Path(f"fan/train/{stem}_{attributes}.wav"))
    assert clip is not None
    assert (clip.id, clip.split, clip.domain, clip.label) == (str(section), "train", "source", 0)


def test_each_id_of_the_plain_layout_has_a_normal_test_clip(tmp_path: Path) -> None:
    for identity in range(30):
        folder = tmp_path / "loom" / f"id_{identity:02d}" / "normal"
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number:08d}.wav").touch()
    index = read_index(tmp_path)
    for identity in range(30):
        clips = [clip for clip in index.clips if clip.id == str(identity)]
        assert sum(clip.split == "test" for clip in clips) >= 1, identity
    assert sum(clip.split == "train" for clip in index.clips) > 45
