"""scale.py: the conclusions from its figures, and its studies."""

import argparse
import random
from collections import Counter
from pathlib import Path

import pytest
from scale import MODULES, Row, conclude, plot
from scaling.raysearch_side import asha_record, begin, complete, fill, load, proposals, resume
from upath import UPath

from raysearch.study.folder import StudyFolder
from raysearch.study.records import State

OPTIONS = argparse.Namespace(trials=[50], reporters=2)


def rows(each: float, resume: float) -> list[Row]:
    sides = {
        "trials": {"trial_ms": 20.0, "driver_ms": 10.0, "peak_mb": 700.0},
        "ask": {"ask_ms": 5.0},
        "reports": {"reports_per_s": 250.0, "report_ms": 3.0},
    }
    figures = [
        Row(kind, side, 2 if kind == "reports" else trials, 0, quantity, value)
        for kind, facts in sides.items()
        for side in MODULES
        for trials in (50, 100)
        for quantity, value in facts.items()
    ]
    figures = [r for r in figures if (r.side, r.quantity) != ("raysearch", "trial_ms")]
    figures += [Row("trials", "raysearch", 50, k, "trial_ms", each + k - 1) for k in range(3)]
    figures.append(Row("trials without reuse", "plain", 20, 0, "trial_ms", 1400.0))
    for kind in ("resume", "resume after ASHA"):
        figures.append(Row(kind, "raysearch", 50, 0, "resume_s", resume))
    return figures


@pytest.mark.parametrize(
    ("each", "resume", "verdicts"),
    [(22.0, 30.0, ["met"] * 3), (23.0, 31.0, ["not met"] * 3), (22.0, 31.0, ["met", "not met"])],
)
def test_a_claim_is_met_or_not(each: float, resume: float, verdicts: list[str]) -> None:
    lines = list(conclude(rows(each, resume), OPTIONS))
    shown = [line.rpartition(": ")[2].rstrip(")") for line in lines if "at most" in line]
    assert shown[: len(verdicts)] == verdicts
    assert f"{each:.1f} ms each against 20.0 ms: {each / 20:.2f} x" in lines[0]
    assert any("1,000 reporters may report every 4.0 s" in line for line in lines)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    plot(rows(22.0, 30.0), OPTIONS, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_is_filled_with_records_that_a_run_resumes(tmp_path: Path) -> None:
    context, rng = begin(tmp_path, load(12)), random.Random(0)
    fill(context, lambda proposal: complete(context, proposal, rng, epochs=1), 10)
    study = StudyFolder(UPath(tmp_path))
    records = study.records()
    assert [record.proposal for record in records] == study.proposals()
    assert {(record.state, len(record.rows)) for record in records} == {(State.COMPLETE, 14)}


def test_asha_leaves_one_in_four_at_each_rung(tmp_path: Path) -> None:
    space = load(100, scheduler="asha")
    context, rng = begin(tmp_path, space), random.Random(0)
    records = [asha_record(context, space, p, rng) for p in proposals(400)]
    epochs = Counter(len(record.history) for record in records)
    assert set(epochs) == {*space.rungs, space.fixed.epochs}
    assert 250 < epochs[min(space.rungs)] < 350
    assert all((record.state is State.PRUNED) == (not record.rows) for record in records)


def test_a_resume_is_measured_in_its_parts(tmp_path: Path) -> None:
    facts = resume(tmp_path, 5, asha=True)
    parts = [facts[name] for name in ("read_s", "rebuild_s", "table_s")]
    assert facts["resume_s"] == pytest.approx(sum(parts))
    assert min(parts) > 0
    assert (tmp_path / "trials.csv").read_text().startswith("trial,")
