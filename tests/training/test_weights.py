"""Files of weights: their content counts, not their path."""

import os
from itertools import count
from pathlib import Path

import pytest

from raysearch.config import Options
from raysearch.errors import UserError
from raysearch.training.configuration import Configuration, TrialConfig
from raysearch.training.weights import check_files, file_hashes


def signature(options: Options) -> str:
    return TrialConfig(
        machine="valve",
        data="0123456789ab",
        configuration=Configuration(1e-3, 32, 10.0),
        seed=0,
        options=options,
        files=file_hashes([options]),
    ).signature()


TIMES = count(10**18, 10**9)


def write(path: Path, content: bytes) -> None:
    """Write a file at a time of its own: tests are faster than the clock of a file system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    now = next(TIMES)
    os.utime(path, ns=(now, now))


def of_file(path: Path, content: bytes) -> Options:
    write(path, content)
    return Options(pretrained=str(path))


def of_folder(folder: Path, **content: str) -> Options:
    for name, text in content.items():
        write(folder / name.replace("_", "."), text.encode())
    return Options(backbone=f"local-dir:{folder}")


def test_the_content_of_a_file_is_signed_and_not_its_path(tmp_path: Path) -> None:
    first = signature(of_file(tmp_path / "a.safetensors", b"one"))
    assert signature(of_file(tmp_path / "b" / "c.safetensors", b"one")) == first
    assert signature(of_file(tmp_path / "a.safetensors", b"two")) != first
    # The same length, so only the time tells that the file is another.
    assert signature(of_file(tmp_path / "a.safetensors", b"one")) == first


def test_the_content_of_a_folder_is_signed_and_not_its_path(tmp_path: Path) -> None:
    content = {"config_json": "{}", "model_safetensors": "one"}
    first = signature(of_folder(tmp_path / "a", **content))
    assert signature(of_folder(tmp_path / "b", **content, readme_md="new")) == first
    assert signature(of_folder(tmp_path / "a", model_safetensors="two")) != first
    write(tmp_path / "a" / "model.safetensors", b"one")
    assert signature(of_folder(tmp_path / "a", config_json="[]")) != first


def test_options_without_files_are_signed_as_ever(tmp_path: Path) -> None:
    for options in (Options(), Options(pretrained=False), Options(backbone="hf-hub:timm/x")):
        assert file_hashes([options]) == {}
    missing = Options(pretrained=str(tmp_path / "gone"), backbone=f"local-dir:{tmp_path}")
    assert file_hashes([missing]) == {}


def test_a_file_of_the_same_size_and_time_is_read_once(tmp_path: Path) -> None:
    options = of_file(tmp_path / "a", b"one")
    path, before = tmp_path / "a", os.stat(tmp_path / "a")
    hashes = file_hashes([options])
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_hashes([options]) == hashes
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert file_hashes([options]) != hashes


def test_a_changed_file_is_refused_in_one_line(tmp_path: Path) -> None:
    before = file_hashes([of_file(tmp_path / "a", b"one")])
    now = file_hashes([of_file(tmp_path / "a", b"another")])
    check_files(before, before, "runs/valve", "use --fresh")
    check_files({}, now, "runs/valve", "use --fresh")  # of a version without hashes
    with pytest.raises(UserError) as caught:
        check_files(before, now, "runs/valve", "use --fresh")
    value = str(tmp_path / "a")
    assert str(caught.value) == (
        f"{value} holds other weights than when runs/valve was begun (sha256 {now[value]}, then "
        f"{before[value]}); put the earlier file back, or use --fresh"
    )
