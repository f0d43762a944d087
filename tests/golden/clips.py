"""Recordings of the golden run, from integer arithmetic: the same on every machine."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16000
SECONDS = 2
MACHINES = ("valve", "fan", "pump")
SEARCHED = ("valve", "fan")
"""Machine types that have test clips."""
TRAIN, TEST = 10, 4
"""Clips per product ID; test clips of each kind."""


def write_clips(root: Path) -> None:
    """Write a data set: six product IDs a machine type, IDs 3 to 5 unlabelled as in DCASE 2021."""
    for machine in MACHINES:
        for section in range(6):
            for number in range(TRAIN):
                name = f"section_{section:02d}_source_train_normal_{number:04d}.wav"
                _write(root / machine / "train" / name, _clip(machine, section, number, 0))
        if machine in SEARCHED:
            for section in range(6):
                _write_tests(root, machine, section)


def _write_tests(root: Path, machine: str, section: int) -> None:
    lines = []
    for number in range(2 * TEST):
        label = number % 2
        label_part = f"_{'anomaly' if label else 'normal'}" if section < 3 else ""
        name = f"section_{section:02d}_source_test{label_part}_{number:04d}.wav"
        _write(root / machine / "source_test" / name, _clip(machine, section, 100 + number, label))
        lines.append(f"{name},{label}\n")
    if section >= 3:
        truth = f"ground_truth_{machine}_section_{section:02d}_source_test.csv"
        (root / machine / truth).write_text("".join(lines))


def _clip(machine: str, section: int, number: int, label: int) -> NDArray[np.int16]:
    """Return a sawtooth of the product ID in noise; an anomaly has bursts of noise."""
    times = np.arange(RATE * SECONDS, dtype=np.uint64)
    offset = MACHINES.index(machine)
    period = np.uint64(40 + 17 * offset + 5 * section)
    saw = (times % period).astype(np.int64) * 2000 // int(period) - 1000
    noise = _noise(times, 1000 * offset + 100 * section + number)
    loud = (times % np.uint64(4000) < np.uint64(150 + 10 * (number % 5))).astype(np.int64) * label
    return (saw + noise // 2 + loud * noise // 3).astype(np.int16)


def _noise(times: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
    """Return pseudo-random integers from -512 to 511."""
    mixed = (times + np.uint64(seed * 1_000_003 + 1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(54)).astype(np.int64) - 512


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
