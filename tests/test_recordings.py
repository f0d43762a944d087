"""Whole runs on other recordings than the demo's, and on settings that diverge.

Only a whole run shows that no part of it assumes the demo's names, rates or lengths.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.command import Ended, raysearch, table, trial_table, write_space

pytestmark = pytest.mark.slow

REAL = Path(__file__).parents[1].parent / "shared" / "real"


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Run a search on other recordings than the demo's; one of its two trials diverges."""
    home = tmp_path_factory.mktemp("abroad") / "home"
    home.mkdir()
    ids = {"validation_ids": [1, 4, 7], "test_ids": [10, 13, 20]}
    search = {"lr": [1e30, 3e-3], "batch_size": 16, "lambda": 1.0}
    write_space(home / "wild.yaml", search=search, strategy={"trials": 2}, **ids)
    write_strangers(home / "data")
    command = ("run", "--machine", "kettle", "--concurrent", 1, "--no-dashboard", "--no-report")
    return home, raysearch(*command, "--space", "wild.yaml", folder=home)


def write_strangers(data: Path) -> None:
    """Write two machine types that hum: 8 kHz stereo clips of 6 s in the plain layout."""
    rng = np.random.default_rng(0)
    time = np.arange(6 * 8000) / 8000
    for machine, pitch, sizes in (("kettle", 200, (18, 4)), ("loom", 90, (4, 0))):
        for step, identity in enumerate(("01", "04", "07", "10", "13", "20")):
            for condition, count in zip(("normal", "abnormal"), sizes, strict=True):
                folder = data / machine / f"id_{identity}" / condition
                folder.mkdir(parents=True)
                for number in range(count):
                    tone = np.sin(2 * np.pi * pitch * (1 + step / 7) * time)
                    fault = np.sin(2 * np.pi * 1700 * time) * (condition == "abnormal")
                    noise = rng.normal(0, 0.3, (len(time), 2))
                    clip = 0.2 * (noise + (tone + fault)[:, None])
                    soundfile.write(folder / f"{number:08d}.wav", clip, 8000, subtype="PCM_16")


def test_machine_types_and_ids_never_seen(abroad: tuple[Path, Ended]) -> None:
    home, ended = abroad
    folder = home / "runs" / "kettle"
    assert ended.code == 0, ended
    rows = trial_table(folder)
    assert {row["state"] for row in rows if row["lr"] == "0.003"} == {"COMPLETE"}
    assert {"val_auc_1", "val_pauc_4", "val_auc_7"} <= rows[0].keys()
    results = table(folder / "final_test.csv")
    assert [(r["machine"], r["id"]) for r in results] == [
        ("kettle", i) for i in ("10", "13", "20", "hmean")
    ]
    assert all(0 <= float(r["auc"]) <= 1 for r in results)
    names = {path.name for path in (folder / "submission").iterdir()}
    assert names == {
        f"{kind}_kettle_section_{i}_test.csv"
        for kind in ("anomaly_score", "decision_result")
        for i in (10, 13, 20)
    } | {"task2_1.meta.yaml"}
    clip = "data/kettle/id_10/abnormal/00000000.wav"
    score = raysearch("score", "runs/kettle/detector", clip, folder=home)
    assert score.out.splitlines()[1].startswith(f"{clip},10,")


def test_diverging_trial_fails_with_its_reason_and_the_search_continues(
    abroad: tuple[Path, Ended],
) -> None:
    home, ended = abroad
    folder = home / "runs" / "kettle"
    assert ended.code == 0, ended
    rows = {row["lr"]: row for row in trial_table(folder)}
    assert len(rows) == 2
    assert (rows["1e+30"]["state"], rows["1e+30"]["val_score"]) == ("FAIL", "")
    assert "diverged" in rows["1e+30"]["error"]
    assert (rows["0.003"]["state"], rows["0.003"]["error"]) == ("COMPLETE", "")
    number = int(rows["1e+30"]["trial"])
    record = json.loads((folder / "records" / f"{number:04d}.json").read_text())
    assert (record["state"], record["error"]) == ("FAIL", rows["1e+30"]["error"])
    [best] = table(folder / "best_config.csv")
    assert best["lr"] == "0.003"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"there are no real recordings at {REAL}")
def test_real_recordings(tmp_path: Path) -> None:
    for source in (
        path for part in ("dev_data", "eval_data") for path in (REAL / part).rglob("*.*")
    ):
        target = tmp_path / "data" / source.relative_to(REAL)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".flac":
            samples, rate = soundfile.read(source, dtype="int16")
            soundfile.write(target.with_suffix(".wav"), samples, rate, subtype="PCM_16")
        else:
            shutil.copyfile(source, target)
    write_space(tmp_path / "tiny.yaml", strategy={"trials": 2})
    command = ("run", "--machine", "fan", "--space", "tiny.yaml", "--no-dashboard", "--no-report")
    ended = raysearch(*command, folder=tmp_path)
    assert ended.code == 0, ended
    folder = tmp_path / "runs" / "fan"
    assert {row["state"] for row in trial_table(folder)} == {"COMPLETE"}
    rows = table(folder / "final_test.csv")
    assert [row["id"] for row in rows] == ["3", "4", "5", "hmean"]
    assert all(0 <= float(row[kind]) <= 1 for row in rows for kind in ("auc", "pauc"))
    [opening, _] = (folder / "test_ledger.jsonl").read_text().splitlines()
    assert json.loads(opening)["clips"] == 60
