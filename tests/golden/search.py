"""The golden run: one search of two machine types, and all files that it writes.

Valves are swept with ASHA and finalists, fans have a sampled inlier model. Times, hosts, versions
and the path of the folder are masked; everything else must never change.
"""

import csv
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.golden.clips import SEARCHED, write_clips

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"
"""Files of the run, masked."""
INTERRUPTED, FINISHED = HERE / "interrupted.tar.xz", HERE / "finished.tar.xz"
"""Folders of the run: interrupted within a trial, and finished by raysearch 0.1."""

COMMAND = (
    *("run", "--machine", "valve", "--machine", "fan"),
    *("--concurrent", "1", "--no-dashboard"),
)
SETTINGS = {
    # One thread and baseline x86-64 instructions: otherwise sums are rounded differently.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX512VL,-AVX512DQ",
    "PYTHONPATH": str(HERE / "backbone"),
}
FIXED: Mapping[str, Any] = {
    "epochs": 3,
    "backbone": "golden",
    "pretrained": False,
    "embedding": 8,
    "n_fft": 512,
    "hop": 512,
    "n_mels": 32,
    "segments": 4,
    "segment_seconds": 1.0,
}
SEARCH: Mapping[str, Any] = {
    "lr": {"low": 1e-3, "high": 1e-1, "log": True},
    "batch_size": [8, 16],
    "lambda": [1.0, 10.0],
    "inlier": {"gmm": [1, 2], "lof": [2], "none": []},
}
SPACES: Mapping[str, Mapping[str, Any]] = {
    "valve": {
        "trials": 5,
        "scheduler": "asha",
        "grace": 1,
        "finalists": {"top": 2, "seeds": 2},
    },
    "fan": {"trials": 4, "inlier": "sample", "scheduler": "none", "finalists": "none"},
}
"""Machine type -> strategy."""

MASKED = {
    *("host", "seconds", "train_seconds", "score_seconds", "resumes"),
    *("time", "started", "study", "versions", "raysearch"),
}
"""Keys and columns whose values depend on the machine, the time or the version."""

OF_MACHINE = {"threads", "processor"}
"""Keys that tell of the machine, and that records of earlier versions lack."""


def settle(home: Path) -> None:
    """Write recordings and space files into a new folder, in which the command runs."""
    write_clips(home / "data")
    (home / "search_spaces").mkdir()
    for machine, strategy in SPACES.items():
        content = {"search": SEARCH, "fixed": FIXED, "strategy": strategy}
        (home / "search_spaces" / f"{machine}.yaml").write_text(yaml.safe_dump(content))


def outcome(home: Path) -> dict[str, str]:
    """Return all files of a run: path -> masked text; for weights their hash."""
    files = {}
    for machine in SEARCHED:
        study = home / "runs" / machine
        for path in sorted(study.rglob("*")):
            name = path.relative_to(study)
            if path.is_file() and name.parts[0] != "tune" and _is_compared(name):
                files[f"{machine}/{name}"] = _masked(path, home)
    return files


def _is_compared(name: Path) -> bool:
    # These depend on the version of a library, on times or on fonts.
    left_out = (".html", ".journal", ".lock", ".png", ".wav", ".flac", ".mp3", ".svg")
    return name.suffix not in left_out and not name.name.startswith(".")


def _masked(path: Path, home: Path) -> str:
    if path.suffix == ".safetensors":
        return _hash(path.read_bytes())
    text = path.read_text("utf-8").replace(str(home), "HOME")
    if path.suffix == ".json":
        return json.dumps(_mask(json.loads(text)), indent=1) + "\n"
    if path.suffix == ".jsonl":
        return "".join(f"{json.dumps(_mask(json.loads(line)))}\n" for line in text.splitlines())
    if path.name == "trials.csv":
        return _mask_table(text)
    return text


def _hash(content: bytes) -> str:
    """Return the hash of the weights of a checkpoint, whose header holds times."""
    head = int.from_bytes(content[:8], "little")
    facts = json.loads(content[8 : 8 + head])
    shapes = {name: entry for name, entry in facts.items() if name != "__metadata__"}
    weights = json.dumps(shapes, sort_keys=True).encode() + content[8 + head :]
    return hashlib.sha256(weights).hexdigest() + "\n"


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in OF_MACHINE}
        return {k: "masked" if k in MASKED else _mask(v) for k, v in kept.items()}
    return [_mask(entry) for entry in value] if isinstance(value, list) else value


def _mask_table(text: str) -> str:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    hidden = {index for index, name in enumerate(rows[0]) if name in MASKED}
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows[1:]:
        writer.writerow("masked" if k in hidden else cell for k, cell in enumerate(row))
    return out.getvalue()


def expected() -> dict[str, str]:
    """Return the expected result of `outcome`."""
    return {
        str(path.relative_to(EXPECTED)): path.read_text("utf-8")
        for path in sorted(EXPECTED.rglob("*"))
        if path.is_file()
    }


def unpack(packed: Path, home: Path) -> None:
    """Unpack a folder of runs into the working folder."""
    with tarfile.open(packed) as archive:
        archive.extractall(home, filter="data")


def environment() -> dict[str, str]:
    """Return the environment of a golden run."""
    return {**os.environ, **SETTINGS}
