"""gpu_check.py: its figures and checks, and the whole program on the smallest network."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu.outcome import (
    Check,
    Section,
    all_checks,
    exit_code,
    relative_difference,
    run_section,
    table,
    write,
)
from gpu.packing import run_together, summary, warm_crew
from gpu.plan import FULL, TINY, machine, machine_line, write_recordings
from gpu.scores import CONVOLUTIONS, compare_scores, convolutions, difference
from gpu.speed import repeated, share
from gpu.training import Watch

from raysearch.training.outcome import Epoch, InlierResult

PROGRAM = Path(__file__).parents[2] / "analysis" / "gpu_check.py"
SECTIONS = ["training", "speed", "scores", "resume", "packing"]


@pytest.mark.parametrize(
    ("value", "passed"), [(1.0, True), (1.1, False), (None, False), (math.nan, False)]
)
def test_a_check_passes_within_its_limit(value: float | None, passed: bool) -> None:
    check = Check("losses", value, 1.0)
    assert check.passed == passed
    assert exit_code([Check("other", 0.0, 0.0), check]) == (0 if passed else 1)
    assert check.row() == {"name": "losses", "passed": passed, "value": value, "limit": 1.0}


def test_an_exception_ends_its_section_alone() -> None:
    def fill(section: Section) -> None:
        section.add("rows", {"a": 1})
        raise RuntimeError("no such kernel\nand a long trace")

    section = run_section("speed", fill, 60.0)
    assert section.error == "RuntimeError: no such kernel"
    assert section.tables == {"rows": [{"a": 1}]}
    assert exit_code(all_checks({"speed": section})) == 1


@pytest.mark.parametrize("limit", [0.01, -5.0])
def test_a_section_ends_at_its_limit(limit: float) -> None:
    section = run_section("resume", lambda _: time.sleep(60), limit)
    assert section.error == f"TimeoutError: stopped after {max(limit, 0):.3g} s, its limit"
    assert not section.checks[0].passed


def test_a_table_shows_figures_and_leaves_lists_out() -> None:
    rows = [{"batch": 32, "speed": 12345.6, "share": 0.98765, "none": None, "all": [1, 2]}]
    lines = table("title", [*rows, rows[0] | {"share": True}]).splitlines()
    assert lines[1] == "title"
    assert lines[2].split() == ["batch", "speed", "share", "none"]
    assert lines[4].split() == ["32", "12346", "0.9877", "-"]
    assert lines[5].split()[2] == "yes"


def test_results_so_far_are_written(tmp_path: Path) -> None:
    section = Section({"rows": [{"a": 1}]}, [Check("c", 2.0, 1.0)], "stopped", 3.0)
    write(tmp_path / "x.json", {"gpu": None}, FULL.facts(), {"speed": section})
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["sections"]["speed"] == {
        "seconds": 3.0,
        "error": "stopped",
        "tables": {"rows": [{"a": 1}]},
    }
    assert content["checks"] == [{"name": "c", "passed": False, "value": 2.0, "limit": 1.0}]
    assert content["plan"]["options"]["backbone"] == "tf_efficientnet_b0.ns_jft_in1k"


def test_the_full_plan_needs_no_network_and_less_than_five_minutes() -> None:
    assert FULL.options.pretrained is False
    assert (FULL.options.n_mels, FULL.options.segment // FULL.options.hop + 1) == (224, 126)
    assert FULL.total <= 300
    assert list(FULL.limits) == list(TINY.limits) == SECTIONS


def test_differences_are_relative() -> None:
    assert relative_difference([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert relative_difference([], []) == 0.0
    assert share(90.0, 120.0) == 0.75
    differences = difference(np.array([[3.0, 4.1]]), np.array([[3.0, 4.0]]))
    assert differences == pytest.approx({"largest": 0.1, "relative": 0.02})


def test_a_step_is_repeated_and_its_warm_up_is_left_out() -> None:
    steps: list[float] = []
    speed = repeated(lambda: steps.append(time.perf_counter()), 16, 0.0, chunk=3)
    assert len(steps) == 6
    assert 0 < speed <= 16 * 3 / (steps[-1] - steps[3])


def epoch(number: int, seconds: float) -> Epoch:
    return Epoch(number, *(0.5,) * 6, lr=1e-3, seconds=seconds)


def test_the_first_epoch_and_checkpoints_are_no_part_of_an_epochs_time() -> None:
    watch = Watch()
    for number, seconds in enumerate([9.0, 1.0, 2.0], start=1):
        watch(epoch(number, seconds))
    watch.times = [100.0, 101.5, 104.5]
    assert watch.epoch_seconds == 1.5
    assert watch.rest_seconds == 0.75


def packed(speed: float | None, error: str = "") -> dict[str, Any]:
    return {"clips_per_s": speed, "reserved_mib": 500.0 if speed else None, "error": error}


def test_trials_at_once_add_up() -> None:
    row = summary(2, [packed(300.0), packed(500.0)], 400.0)
    assert (row["clips_per_s"], row["speed_up"], row["reserved_mib"]) == (800.0, 2.0, 1000.0)
    assert summary(1, [packed(400.0)], None)["speed_up"] == 1.0
    assert summary(2, [packed(1.0), packed(1.0)], None)["speed_up"] is None


def test_trials_that_do_not_fit_say_so() -> None:
    full, broken = packed(None, "out of GPU memory"), packed(None, "another trial failed")
    row = summary(2, [full, broken], 400.0)
    assert row["out_of_memory"]
    assert row["clips_per_s"] is None
    assert row["error"] == "another trial failed; out of GPU memory"
    silent = summary(4, [packed(1.0)], 400.0)
    assert silent["error"] == "3 of 4 trials did not report"
    assert not silent["out_of_memory"]


# Only real processes show that none of them waits for one that failed.
@pytest.mark.slow
def test_a_trial_that_fails_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    write_recordings(TINY, tmp_path / "data")
    with warm_crew(TINY, tmp_path / "data", tmp_path / "packing") as crew:
        first, second = crew.ready
        (tmp_path / "packing" / "1" / "2").write_text("where the second trial wants its folder")
        failed, stopped = run_together(crew, 2)
        assert "Error" in failed["error"]
        assert stopped == packed(None, "another trial failed")
        assert run_together(crew, 1)[0]["clips_per_s"] > 0
        second.process.kill()
        shutil.rmtree(tmp_path / "packing" / "0" / "2")
        assert run_together(crew, 2) == [packed(None, "another trial failed")]
        assert crew.ready == [first]
        assert run_together(crew, 2) == [packed(None, "another trial failed")]
    assert not first.process.is_alive()


def test_scores_are_compared_in_points() -> None:
    section = Section()
    gpu = InlierResult("gmm", 1, 0.75, {"0": 0.8}, {"0": 0.7})
    compare_scores(section, gpu, replace(gpu, val_score=0.77, auc={"0": 0.81}))
    compare_scores(section, gpu, InlierResult("gmm", 1, error="collapsed"))
    first, second = next(iter(section.tables.values()))
    assert first["difference"] == pytest.approx(2.0)
    assert first["largest_auc_difference"] == pytest.approx(1.0)
    assert second["error"] == "collapsed"
    assert [check.passed for check in section.checks] == [False, False]


def test_the_precision_of_convolutions_is_put_back() -> None:
    before = CONVOLUTIONS.fp32_precision
    with convolutions("ieee"):
        assert CONVOLUTIONS.fp32_precision == "ieee"
    assert CONVOLUTIONS.fp32_precision == before


def test_the_machine_is_shown_in_a_line() -> None:
    facts = machine() | {"gpu": None, "driver": None}
    assert machine_line(facts).startswith("no GPU: checks run on the CPU; torch ")
    facts |= {"gpu": "H100", "driver": "570.1", "torch": "2.11.0", "cuda": "13.0"}
    assert machine_line(facts).startswith("H100, driver 570.1; torch 2.11.0, CUDA 13.0, ")


def figures(value: object) -> Iterator[float]:
    """Yield all numbers of some JSON content."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from figures(entry)
    elif isinstance(value, int | float):
        yield float(value)


# Only the real program shows that its sections fit together, in processes of their own as well.
@pytest.mark.slow
def test_the_tiny_program_runs_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--out", str(tmp_path), "--tiny"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROGRAM.parents[1]), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("no GPU: checks run on the CPU")
    assert "packing: 2 at once" in done.stdout
    content = json.loads((tmp_path / "gpu_check.json").read_text())
    assert content["machine"]["torch"] == torch.__version__
    assert all(check["passed"] for check in content["checks"])
    assert all(math.isfinite(figure) for figure in figures(content))
    sections = content["sections"]
    assert list(sections) == SECTIONS
    assert [section["error"] for section in sections.values()] == [""] * len(SECTIONS)
    tables = {name: list(section["tables"].values()) for name, section in sections.items()}
    settings = [(row["batch"], row["precision"]) for row in tables["training"][0]]
    assert settings == [(size, kind) for size in TINY.batch_sizes for kind in ("bf16", "fp32")]
    assert all(len(row["val_losses"]) == TINY.epochs for row in tables["training"][0])
    assert [(row["batch"], row["precision"]) for row in tables["speed"][0]] == settings
    assert all(row["epoch_share"] > 0 for row in tables["speed"][0])
    embeddings, scores = tables["scores"]
    assert [row["relative"] for row in embeddings] == pytest.approx([0.0] * 3, abs=1e-5)
    assert [(row["inlier"], row["p"]) for row in scores] == [(i.name, i.p) for i in TINY.inliers]
    assert [row["resumes"] for row in tables["resume"][0]] == [0, 1]
    assert [row["trials"] for row in tables["packing"][0]] == list(TINY.packed)
    assert all(row["clips_per_s"] > 0 for row in tables["packing"][0])


def test_packages_that_are_missing_are_one_line(tmp_path: Path) -> None:
    """On a bare machine with a GPU: site-packages hold neither these nor others."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", PROGRAM, "--out", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("gpu_check.py needs torch, ")
    assert "pip install torch " in done.stderr
    assert "universal-pathlib" in done.stderr
    assert done.stderr.count("\n") == 1
