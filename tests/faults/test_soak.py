"""A dozen of the faults of `make soak`, with a fixed seed; and faults that the soak must see."""

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Ended
from tests.faults.broken import Search, make_home
from tests.faults.kinds import FAULTS, nothing
from tests.faults.soak import draw_faults, soak

SLOW = {"driver taken over, on S3", "clock set", "DDP peer killed"}
"""Faults that wait for a time-out, or for workers that start twice."""


@pytest.mark.slow
def test_a_seeded_dozen_of_faults_breaks_no_invariant(tmp_path: Path) -> None:
    kinds = [fault for fault in FAULTS if fault.is_possible and fault.name not in SLOW]
    rows = list(soak(draw_faults(12, seed=3, kinds=kinds), 3, 2, tmp_path))
    assert [row for row in rows if row.outcome not in ("kept", "missed")] == []
    assert sum(row.outcome == "kept" for row in rows) >= 10


def test_each_kind_comes_as_often_as_the_others() -> None:
    faults = draw_faults(2 * len(FAULTS), seed=0)
    assert {name: faults.count(name) for name in FAULTS} == dict.fromkeys(FAULTS, 2)
    assert draw_faults(10, seed=0) == draw_faults(10, seed=0) != draw_faults(10, seed=1)


@pytest.mark.parametrize(
    ("ended", "violation"),
    [
        (Ended(1, "", "Traceback (most recent call last):\nValueError: x\n"), "a traceback"),
        (Ended(0, "Traceback (most recent call last):", ""), "a traceback"),
        (Ended(1, "", ""), "0 lines with exit code 1"),
        (Ended(2, "", "raysearch: a\nraysearch: b\n"), "2 lines with exit code 2"),
        (Ended(-signal.SIGSEGV, "", "x\n"), "1 lines with exit code -11"),
    ],
)
def test_an_end_without_a_clear_line_is_seen(tmp_path: Path, ended: Ended, violation: str) -> None:
    search = Search(tmp_path, random.Random(0))
    search.check_lines(ended)
    assert violation in search.violations


def lose_record(folder: Path) -> None:
    (folder / "records" / "0000.json").unlink()


def alter_record(folder: Path) -> None:
    path = folder / "records" / "0000.json"
    path.write_text(path.read_text() + "\n")


def open_twice(folder: Path) -> None:
    path = folder / "test_ledger.jsonl"
    path.write_text(path.read_text() * 2)


def change_winner(folder: Path) -> None:
    path = folder / "frozen.json"
    path.write_text(path.read_text().replace('"trial": ', '"trial": 1'))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "violation"),
    [
        (nothing, ""),
        (lose_record, "lost or altered"),
        (alter_record, "lost or altered"),
        (open_twice, "lines in the ledger"),
        (change_winner, "another winner"),
    ],
)
def test_a_broken_invariant_is_seen(
    tmp_path: Path, soaked: Path, damage: Callable[[Path], None], violation: str
) -> None:
    shutil.copytree(soaked, tmp_path / "home", symlinks=True)
    search = Search(tmp_path / "home", random.Random(0))
    search.note()
    damage(tmp_path / "home" / "runs" / "valve")
    search.check_end(None)
    seen = "; ".join(search.violations)
    assert violation in seen if violation else not seen


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The folder of a search that nothing disturbed."""
    kept = tmp_path_factory.mktemp("soaked") / "home"
    with make_home(demo_data, copied=False) as home:
        ended = Search(home, random.Random(0)).start().wait()
        assert ended.code == 0, ended
        shutil.copytree(home, kept, symlinks=True)
    return kept
