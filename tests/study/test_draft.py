"""Drafts of space files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from raysearch.data.index import read_index
from raysearch.errors import DataError
from raysearch.scoring.spec import InlierSpec
from raysearch.search.single import single_configuration
from raysearch.study.draft import draft
from raysearch.study.space import Space
from raysearch.study.space_files import load_space, shipped_folder


def write(folder: Path, names: list[str], *, rate: int = 16000, seconds: float = 2.1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(folder / name, np.zeros(int(rate * seconds), np.int16), rate)


def machine(
    root: Path,
    name: str,
    clips: int,
    *,
    labelled: str = "012",
    rate: int = 16000,
    seconds: float = 2.1,
) -> None:
    """Write six IDs in the layout of 2021, each with a number of training clips."""
    for identity in "012345":
        part = "dev_data" if identity in labelled else "eval_data"
        train = [f"section_0{identity}_source_train_normal_{n:04d}.wav" for n in range(clips)]
        write(root / part / name / "train", train, rate=rate, seconds=seconds)
        kinds = ("normal", "anomaly") if identity in labelled else ("",)
        tests = [
            f"section_0{identity}_source_test_{kind}_0000.wav".replace("__", "_") for kind in kinds
        ]
        write(root / part / name / "source_test", tests, rate=rate)


def drafted(root: Path, name: str = "fan") -> Space:
    path = root / "space.yaml"
    path.write_text(draft(read_index(root, domain="both"), name))
    return load_space(path)


def test_a_draft_adapts_to_the_recordings_and_keeps_other_defaults(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 10)
    space, default = drafted(tmp_path), load_space(shipped_folder() / "default.yaml")
    assert (space.validation_ids, space.test_ids) == (("0", "1", "2"), ("3", "4", "5"))
    assert space.search.batch_size == (8,)
    # One held-out clip of an ID is ten segments.
    assert space.search.inlier == {"gmm": (1, 2, 4), "lof": (1, 2, 4, 8)}
    assert space.fixed == default.fixed
    assert space.strategy == default.strategy
    assert space.search.lr == default.search.lr


@pytest.mark.parametrize(
    ("seconds", "mixtures"),
    [(1.0, (1,)), (2.0, (1,)), (30.0, (1, 2, 4, 8))],
)
def test_a_draft_counts_the_segments_that_clips_of_this_length_have(
    tmp_path: Path, seconds: float, mixtures: tuple[int, ...]
) -> None:
    """Two held-out clips of an ID have 1, 1 and 15 segments each."""
    machine(tmp_path, "fan", 20, seconds=seconds)
    assert drafted(tmp_path).search.inlier["gmm"] == mixtures


def test_a_draft_is_of_the_source_domain_unless_there_is_only_the_other(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 10)
    few = [f"section_0{identity}_target_train_normal_0000.wav" for identity in "012"]
    write(tmp_path / "dev_data/fan/train", few)
    space = drafted(tmp_path)
    assert space.fixed.domain == "source"
    assert "60 training clips of 6 product IDs" in (tmp_path / "space.yaml").read_text()
    for path in (tmp_path / "dev_data/fan/train").glob("*_source_*"):
        path.rename(path.with_name(path.name.replace("_source_", "_target_")))
    for path in (tmp_path / "eval_data/fan/train").iterdir():
        path.unlink()
    assert drafted(tmp_path).fixed.domain == "target"


def test_many_clips_give_the_default_space(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 130)
    assert drafted(tmp_path) == load_space(shipped_folder() / "default.yaml")


def test_every_option_keeps_its_explanation(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 10)
    text = draft(read_index(tmp_path, domain="both"), "fan")
    lines = (shipped_folder() / "default.yaml").read_text().splitlines()
    explained = {
        line.split(":")[0]: line.split("#", 1)[1]
        for line in lines
        if ": " in line and "  #" in line
    }
    drafted_comments = {
        line.split(":")[0]: line.split("#", 1)[1]
        for line in text.splitlines()
        if ": " in line and "  #" in line
    }
    assert {key: drafted_comments.get(key) for key in explained if not key.startswith("#")} == {
        key: value for key, value in explained.items() if not key.startswith("#")
    }
    assert text.startswith(
        "# Space of fan: 60 training clips of 6 product IDs,\n# 2.1 s each at 16000 Hz"
    )
    assert all(len(line) <= 100 for line in text.splitlines())


def test_half_of_the_ids_are_test_ids_if_all_are_labelled(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 10, labelled="012345")
    assert drafted(tmp_path).validation_ids == ("0", "1", "2")
    machine(tmp_path, "pump", 10, labelled="05")
    space = drafted(tmp_path, "pump")
    assert (space.validation_ids, space.test_ids) == (("0", "5"), ("1", "2", "3", "4"))


def test_a_lower_rate_is_kept(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 10, rate=8000)
    fixed = drafted(tmp_path).fixed
    assert (fixed.rate, fixed.f_max) == (8000, 3900.0)
    machine(tmp_path, "pump", 10, rate=48000)
    assert (drafted(tmp_path, "pump").fixed.rate, drafted(tmp_path, "pump").fixed.f_max) == (
        16000,
        7800.0,
    )


def test_without_labels_a_draft_is_a_single_configuration(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 20, labelled="")
    space = drafted(tmp_path)
    assert (space.validation_ids, space.test_ids) == ((), tuple("012345"))
    assert single_configuration(space, "fan", [], "fan.yaml").search == space.search
    assert space.search.specs == (InlierSpec("gmm", 1),)
    text = (tmp_path / "space.yaml").read_text()
    assert "validation_ids: []" in text
    assert "no ID has labelled test clips of both kinds" in text
    for path in tmp_path.rglob("*_test/*"):
        path.unlink()
    assert drafted(tmp_path).test_ids == ()
    # Healthy clips alone cannot test either.
    write(tmp_path / "dev_data/fan/source_test", ["section_00_source_test_normal_0000.wav"])
    assert drafted(tmp_path).test_ids == ()


def test_unsuitable_recordings_are_refused(tmp_path: Path) -> None:
    machine(tmp_path, "fan", 2, labelled="")
    with pytest.raises(DataError, match="no training clips of 'valve'"):
        drafted(tmp_path, "valve")
    for path in tmp_path.rglob("*train*.wav"):
        path.write_text("no audio")
    machine(tmp_path, "pump", 0, labelled="0")
    with pytest.raises(DataError, match="is not a readable audio file"):
        drafted(tmp_path)


def test_names_are_product_ids_too(tmp_path: Path) -> None:
    for identity in ("a", "b"):
        write(tmp_path / "fan" / f"id_{identity}" / "normal", [f"{n}.wav" for n in range(30)])
        write(tmp_path / "fan" / f"id_{identity}" / "abnormal", ["x.wav"])
    content = yaml.safe_load(draft(read_index(tmp_path, domain="both"), "fan"))
    assert (content["validation_ids"], content["test_ids"]) == (["a"], ["b"])
