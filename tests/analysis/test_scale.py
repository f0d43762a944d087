"""scale.py: what follows from its figures, and that its studies are real ones."""

import argparse
import random
import sys
from collections import Counter
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from upath import UPath

from raysearch.study.folder import StudyFolder
from raysearch.study.records import State

ANALYSIS = Path(__file__).parents[2] / "analysis"


def load(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return load(ANALYSIS / "scale.py")


@pytest.fixture(scope="module")
def ours() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ANALYSIS / "scaling")
        return load(ANALYSIS / "scaling" / "ours.py")


OPTIONS = argparse.Namespace(trials=[50], reporters=2)


def rows(scale: ModuleType, ours: float, resume: float) -> list:
    sides = {
        "trials": {"trial_ms": 20.0, "driver_ms": 10.0, "peak_mb": 700.0},
        "ask": {"ask_ms": 5.0},
        "reports": {"reports_per_s": 250.0, "report_ms": 3.0},
    }
    found = [
        scale.Row(kind, side, 2 if kind == "reports" else trials, 0, quantity, value)
        for kind, facts in sides.items()
        for side in scale.SIDES
        for trials in (50, 100)
        for quantity, value in facts.items()
    ]
    found = [r for r in found if (r.side, r.quantity) != ("raysearch", "trial_ms")]
    found += [scale.Row("trials", "raysearch", 50, k, "trial_ms", ours + k - 1) for k in range(3)]
    found.append(scale.Row("trials without reuse", "plain", 20, 0, "trial_ms", 1400.0))
    for kind in ("resume", "resume after ASHA"):
        found.append(scale.Row(kind, "raysearch", 50, 0, "resume_s", resume))
    return found


@pytest.mark.parametrize(
    ("each", "resume", "verdicts"),
    [(22.0, 30.0, ["met"] * 3), (23.0, 31.0, ["not met"] * 3), (22.0, 31.0, ["met", "not met"])],
)
def test_a_claim_is_met_or_not(
    scale: ModuleType, each: float, resume: float, verdicts: list[str]
) -> None:
    lines = list(scale.conclude(rows(scale, each, resume), OPTIONS))
    told = [line.rpartition(": ")[2].rstrip(")") for line in lines if "at most" in line]
    assert told[: len(verdicts)] == verdicts
    assert f"{each:.1f} ms each against 20.0 ms: {each / 20:.2f} x" in lines[0]
    assert any("1,000 reporters may report every 4.0 s" in line for line in lines)


def test_the_plot_is_drawn(scale: ModuleType, tmp_path: Path) -> None:
    scale.plot(rows(scale, 22.0, 30.0), OPTIONS, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_is_filled_with_records_that_a_run_takes_up(
    ours: ModuleType, tmp_path: Path
) -> None:
    context, rng = ours.begin(tmp_path, ours.load(12)), random.Random(0)
    ours.fill(context, lambda proposal: ours.complete(context, proposal, rng, epochs=1), 10)
    study = StudyFolder(UPath(tmp_path))
    records = study.records()
    assert [record.proposal for record in records] == study.proposals()
    assert {(record.state, len(record.rows)) for record in records} == {(State.COMPLETE, 14)}


def test_asha_leaves_one_in_four_at_each_rung(ours: ModuleType, tmp_path: Path) -> None:
    space = ours.load(100, scheduler="asha")
    context, rng = ours.begin(tmp_path, space), random.Random(0)
    made = [ours.as_asha_leaves_it(context, space, p, rng) for p in ours.proposals(400)]
    epochs = Counter(len(record.history) for record in made)
    assert set(epochs) == {*space.rungs, space.fixed.epochs}
    assert 250 < epochs[min(space.rungs)] < 350
    assert all((record.state is State.PRUNED) == (not record.rows) for record in made)


def test_a_resume_is_measured_in_its_parts(ours: ModuleType, tmp_path: Path) -> None:
    facts = ours.resume(tmp_path, 5, asha=True)
    parts = [facts[name] for name in ("read_s", "rebuild_s", "table_s")]
    assert facts["resume_s"] == pytest.approx(sum(parts))
    assert min(parts) > 0
    assert (tmp_path / "trials.csv").read_text().startswith("trial,")
