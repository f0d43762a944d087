"""growth.py: its stores, its arithmetic, and the program on a few clips."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from growth import conclude, deviation
from growth_parts.stores import CLIP_BYTES, IDS, LENGTH, clips_of, open_stores, write_stores
from growth_parts.trial import resident

from raysearch.config import MACHINES

PROGRAM = Path(__file__).parents[2] / "analysis" / "growth.py"


def test_the_full_size_is_that_of_dcase() -> None:
    clips = clips_of(13)
    assert clips % len(IDS) == 0
    assert clips * len(MACHINES) * CLIP_BYTES == pytest.approx(13e9, rel=0.01)
    assert clips_of(0.0) == 2 * len(IDS)


def test_a_part_of_the_stores_is_their_beginning(tmp_path: Path) -> None:
    write_stores(tmp_path / "stores", 18)
    whole, part = (open_stores(tmp_path / "stores", clips) for clips in (18, 12))
    assert len(whole.others) == len(MACHINES) - 1
    assert [clip.id for clip in part.target.clips] == [*IDS, *IDS]
    assert part.target.samples.size == 12 * LENGTH
    assert np.array_equal(part.target.waveform(11), whole.target.waveform(11))
    assert not np.array_equal(part.target.waveform(0), part.target.waveform(1))
    train, held_out = part.target_parts(0.1, 0)
    assert (train.clips.size, held_out.clips.size) == (6, 6)


def test_resident_memory_grows_by_what_is_held_in_memory() -> None:
    before = resident()
    block = np.ones(64 * 2**20, np.uint8)
    after = resident()
    assert block.sum() == 64 * 2**20
    assert after["RssAnon"] - before["RssAnon"] == pytest.approx(64, abs=8)
    assert after["VmRSS"] >= after["RssAnon"]


def test_the_largest_size_is_compared_with_the_smaller_ones() -> None:
    assert deviation([[1.0, 3.0, 2.5], [2.0, 6.0, 5.0], [1.0, 1.0, 9.0]]) == pytest.approx(0.25)
    assert deviation([[2.0]]) == 0.0
    rows = [{"anonymous_mib": memory} for memory in (900.0, 910.0, 950.0)]
    training, feeding, memory = conclude(rows, [[2.0, 2.0, 2.1]], [[1.0, 1.0, 1.0]])
    assert "+5.0% from the prediction" in training
    assert training.endswith("(at most 10%: met)")
    assert "+0.0%" in feeding
    assert memory.startswith("anonymous memory: 950 MiB at most, +50 MiB")
    rows[-1] |= {"anonymous_mib": 4000.0}
    lines = conclude(rows, [[2.0, 2.0, 2.4]], [[1.0, 1.0, 1.0]])
    assert [line.endswith("not met)") for line in lines] == [True, False, True]


# Only processes of their own show the memory of a trial.
@pytest.mark.slow
def test_the_program_measures_every_size(tmp_path: Path) -> None:
    sizes = ["--scratch", str(tmp_path), "--tiny", "--gigabytes", "0.1", "--batches", "2"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--out", str(tmp_path), *sizes],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1]), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "growth.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["clips"] for row in rows] == sorted({row["clips"] for row in rows})
    assert all(value > 0 for row in rows for value in row.values())
    assert "training, largest size" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["growth.csv"]
