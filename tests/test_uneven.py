"""A run on uneven recordings: marks stand where the figures stand.

Only a whole run shows that every table and the report carry them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.command import Ended, raysearch, table, trial_table, write_space

pytestmark = pytest.mark.slow

RATE = 16000
TRAINING = {0: 200, 1: 12, 2: 8, 3: 40, 4: 20, 5: 8}
"""Product ID -> training clips of the source domain."""
SECONDS = {1: 48, 2: 1}
"""Product ID -> length of its clips, 3 s of all others."""
UNPUBLISHED = 5
"""Test ID whose published labels are all normal."""


@dataclass(frozen=True)
class Run:
    """A run on uneven recordings."""

    home: Path
    ended: Ended

    @property
    def folder(self) -> Path:
        return self.home / "runs" / "press"


def write_clip(path: Path, pitch: float, seconds: float, *, fault: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * pitch * time)
    # The fault is heard in the last second alone.
    late = (time > seconds - 1) & fault
    hiss = np.sin(2 * np.pi * 2100 * time) * late
    noise = rng.normal(0, 0.5, time.size)
    samples = 0.15 * (tone + noise + 0.7 * hiss)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def write_machine(data: Path, machine: str, base: float, training: dict[int, int]) -> None:
    """Write the clips of a machine type in the layout of DCASE 2021, with labels of ID 3 to 5."""
    for identity, count in training.items():
        part = data / ("dev_data" if identity < 3 else "eval_data") / machine
        pitch, seconds = base * (1 + identity / 5), SECONDS.get(identity, 3)
        for domain, clips in (("source", count), ("target", 3)):
            shift = 1.0 if domain == "source" else 1.1
            for number in range(clips):
                name = f"section_0{identity}_{domain}_train_normal_{number:04d}.wav"
                seed = identity * 1000 + number + 500 * (domain == "target") + 7 * len(machine)
                write_clip(part / "train" / name, pitch * shift, seconds, fault=False, seed=seed)
            if machine == "press":
                write_tests(part, domain, identity, pitch * shift)


def write_tests(part: Path, domain: str, identity: int, pitch: float) -> None:
    truth = []
    for number in range(24):
        fault = number % 2 == 1
        known = ("anomaly" if fault else "normal") if identity < 3 else ""
        middle = f"{known}_" if known else ""
        name = f"section_0{identity}_{domain}_test_{middle}{number:04d}.wav"
        truth.append((name, int(fault and identity != UNPUBLISHED)))
        seconds = SECONDS.get(identity, 3)
        path = part / f"{domain}_test" / name
        write_clip(path, pitch, seconds, fault=fault, seed=number + 100 * identity)
    if identity >= 3:
        name = f"ground_truth_press_section_0{identity}_{domain}_test.csv"
        folder = part.parent / "ground_truth"
        folder.mkdir(exist_ok=True)
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(truth)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    home = tmp_path_factory.mktemp("uneven") / "home"
    write_machine(home / "data", "press", 220, TRAINING)
    write_machine(home / "data", "loom", 150, dict.fromkeys(range(6), 6))
    space = {"search": {"inlier": {"gmm": [1], "lof": [4], "knn": [1]}}}
    fixed = {"domain": "both", "segments": 5, "inlier_fit": "all"}
    write_space(home / "press.yaml", **space, fixed=fixed, strategy={"trials": 2})
    command = ("run", "--machine", "press", "--space", "press.yaml", "--no-dashboard")
    return Run(home, raysearch(*command, folder=home))


def test_the_run_ends_with_a_winner_that_fits_every_id(run: Run) -> None:
    assert run.ended.code == 0, run.ended
    assert (run.folder / "detector" / "detector.json").is_file()
    trials = trial_table(run.folder)
    assert {row["state"] for row in trials} == {"COMPLETE"}
    assert all(row["val_score"] or row["error"] for row in trials)


def test_the_missing_anomalies_are_marked_in_every_place(run: Run) -> None:
    note = f"ID {UNPUBLISHED}: labelled clips are all of one kind"
    *ids, last = table(run.folder / "final_test.csv")
    assert [row["id"] for row in ids] == ["3", "4", "5"]
    assert (ids[2]["auc"], ids[2]["note"]) == ("", "labelled clips are all of one kind")
    assert last["note"] == f"over 2 of 3 test IDs; {note}"
    assert "over only 2 of 3 IDs that the search never saw" in run.ended.out
    page = (run.folder / "report.html").read_text("utf-8")
    assert f"(over 2 of 3 test IDs; {note})" in page
    assert note in raysearch("status", "runs/press", folder=run.home).out.replace("\n", "")
    exported = raysearch("export", folder=run.home)
    assert exported.code == 0, exported
    for name in ("results.csv", "results.md", "results.tex"):
        assert "over 2 of 3 test IDs" in (run.home / "runs" / name).read_text("utf-8")


def test_both_domains_have_official_scores(run: Run) -> None:
    rows = {row["id"]: row for row in table(run.folder / "official_scores.csv")}
    assert set(rows) == {"3", "4", "5", "hmean"}
    assert "official scores over source and target domain: 2021 0." in run.ended.out


def test_a_fault_at_the_end_of_a_long_recording_is_heard(run: Run) -> None:
    """48 s have 24 segments, not ten with gaps of 3 s between them."""
    best = max(
        (row for row in trial_table(run.folder) if row["val_score"]),
        key=lambda row: float(row["val_score"]),
    )
    assert float(best["val_auc_1"]) > 0.6
    clip = "data/dev_data/press/source_test/section_01_source_test_anomaly_0001.wav"
    windows = raysearch("score", "runs/press/detector", clip, "--windows", folder=run.home)
    rows = list(csv.DictReader(windows.out.splitlines()))
    assert len(rows) == 24
    assert (rows[0]["start"], rows[-1]["end"]) == ("0", "48")


def test_a_second_of_sound_is_one_segment(run: Run) -> None:
    clip = "data/dev_data/press/source_test/section_02_source_test_normal_0000.wav"
    windows = raysearch("score", "runs/press/detector", clip, "--windows", folder=run.home)
    assert len(windows.out.splitlines()) == 2
