import os
from pathlib import Path

import pytest

from raysearch.errors import UserError
from raysearch.remote.cluster_file import read_cluster_file
from raysearch.remote.fetch import fetch, remove_links
from raysearch.storage import to_path, write_bytes
from tests.command import contents
from tests.remote.head import brought_up, write_cluster_file
from tests.remote.head import ssh as ssh  # a fixture
from tests.s3 import BUCKET, S3

FETCHED = {
    "best_config.csv": b"best",
    "best_config.tex": b"best",
    "confidence.json": b"{}",
    "detector/classes/valve.json": b"{}",
    "final_test.csv": b"final",
    "machines/pump/detector/detector.json": b"{}",
    "official_scores_2.csv": b"official",
    "study.json": b"{}",
    "submission/anomaly_score_valve_section_03.csv": b"a,1",
    "test_ledger.jsonl": b"{}",
    "trials.csv": b"trial",
}
LEFT = [
    "machines/pump/encoders/abc/best.safetensors",
    "encoders/abc/best.safetensors",
    "tune/x",
    "records/0000.json",
    "study.journal",
]


def write_run(folder: Path) -> Path:
    for name, content in {**FETCHED, **dict.fromkeys(LEFT, b"heavy")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("ssh")
def test_the_results_on_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    file = read_cluster_file(write_cluster_file(tmp_path / "home"))
    runs = tmp_path / "runs"
    for machine in ("valve", "fan"):
        write_run(runs / machine)
    (runs / "fan" / "detector" / "token").symlink_to(tmp_path / "home" / "token")
    (runs / "notes").mkdir()
    for name in ("table2.md", "other.md"):
        (runs / name).write_text("a table")
    here = tmp_path / "here"
    # What an earlier fetch brought is replaced.
    (here / "valve" / "detector").mkdir(parents=True)
    (here / "valve" / "detector" / "old.json").touch()
    with brought_up(file.path):
        assert fetch(file, str(runs / "valve"), here) == [here / "valve"]
        assert contents(here / "valve") == FETCHED
        assert fetch(file, f"{runs}/", here) == [here / "fan", here / "valve"]
        assert contents(here / "fan") == FETCHED
        assert [path.name for path in here.glob("*.md")] == ["table2.md"]
        with pytest.raises(UserError, match="notes holds no run"):
            fetch(file, str(runs / "notes"), here)


@pytest.mark.parametrize("settings_in", ["the address", "the environment"])
def test_the_results_on_an_object_store(
    s3_server: S3, settings_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    runs = f"s3://{BUCKET}/fetched"
    if settings_in == "the address":
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        runs = s3_server.address("fetched")
    folder = to_path(runs)
    for name, content in {**FETCHED, **dict.fromkeys(LEFT, b"heavy")}.items():
        write_bytes(folder / "valve" / name, content)
    write_bytes(folder / "notes" / "a.txt", b"note")
    assert fetch(None, runs, tmp_path / "all") == [tmp_path / "all" / "valve"]
    assert contents(tmp_path / "all" / "valve") == FETCHED
    single_run = runs.replace("/fetched", "/fetched/valve", 1)
    assert fetch(None, single_run, tmp_path / "one") == [tmp_path / "one" / "valve"]
    assert contents(tmp_path / "one" / "valve") == FETCHED
    nothing = runs.replace("/fetched", "/fetched/notes", 1)
    with pytest.raises(UserError, match=r"notes.* holds no run") as error:
        fetch(None, nothing, tmp_path / "none")
    assert "unspoken" not in str(error.value)


def test_a_path_of_this_machine_is_refused() -> None:
    with pytest.raises(UserError, match="absolute path on the cluster"):
        fetch(None, "runs/valve", Path("runs"))


def test_links_and_pipes_are_left_out(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("secret")
    run = tmp_path / "runs" / "valve"
    (run / "detector").mkdir(parents=True)
    (run / "trials.csv").write_text("trial")
    (run / "detector" / "detector.json").symlink_to(secret)
    (run / "submission").symlink_to(tmp_path)
    (run.parent / "fan").symlink_to(run)
    os.mkfifo(run / "frozen.json")
    left_out = ["fan", "valve/detector/detector.json", "valve/frozen.json", "valve/submission"]
    assert [str(path) for path in remove_links(run.parent)] == left_out
    assert contents(run.parent) == {"valve/trials.csv": b"trial"}
    assert secret.read_text() == "secret"
