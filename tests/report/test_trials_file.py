"""trials.csv: its columns, what stands in them, and that it is whole, ordered and up to date."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from upath import UPath

from raysearch.report.trials_file import PAUSE, TrialsFile, columns
from raysearch.scoring.spec import InlierSpec
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from raysearch.training.outcome import InlierResult
from tests.records import complete, failed, make_manifest, make_space, row

COLUMNS = [
    *["trial", "state", "lr", "batch_size", "lambda", "inlier", "p", "epochs", "best_epoch"],
    *["seed", "rerun_of", "origin", "val_score", "val_auc_0", "val_pauc_0", "val_auc_1"],
    *["val_pauc_1", "val_auc_2", "val_pauc_2", "val_loss", "train_seconds", "score_seconds"],
    *["encoder", "error"],
]


@pytest.fixture
def local(tmp_path: Path) -> UPath:
    return UPath(tmp_path)


def read(folder: UPath) -> list[list[str]]:
    return list(csv.reader(io.StringIO((folder / "trials.csv").read_text(), newline="")))


def write(folder: UPath, *records: Record) -> None:
    make_manifest().write(folder)
    TrialsFile(folder, make_space(), records).write()


def test_searched_options_have_columns() -> None:
    names = columns(("0",), ("method", "mixup"))
    assert names[names.index("lambda") : names.index("p") + 1] == [
        *("lambda", "method", "mixup", "inlier", "p")
    ]


def records() -> list[Record]:
    auc, pauc = {"0": 0.1, "1": 0.2, "2": 0.3}, {"0": 0.4, "1": 0.5, "2": 0.6}
    return [
        complete(
            Proposal(0, Configuration(0.1 + 0.2, 32, 0.1)),
            InlierResult("gmm", 4, 1 / 3, auc, pauc, remark="degenerate"),
            row("gmm", 64, None, "gmm with p=64 needs 64 segments, has 10"),
            row("none", None, 0.25),
        ),
        failed(Proposal(1, Configuration(1e-3, 64, 1.0)), 'the loss is NaN in epoch 1, "so what"'),
    ]


def test_the_table_has_the_columns_that_are_promised(folder: UPath) -> None:
    write(folder, *records())
    head, *lines = read(folder)
    assert head == COLUMNS
    common = ["0", "COMPLETE", "0.30000000000000004", "32", "0.1"]
    rest = ["0.5", "1.235", "2.0", "encoder0"]
    thirds = ["0.3333333333333333", "0.1", "0.4", "0.2", "0.5", "0.3", "0.6"]
    assert lines == [
        [*common, "gmm", "4", "2", "1", "0", "", "", *thirds, *rest, ""],
        [
            *[*common, "gmm", "64", "2", "1", "0", "", ""],
            *[*[""] * 7, *rest, "gmm with p=64 needs 64 segments, has 10"],
        ],
        [*common, "none", "", "2", "1", "0", "", "", *["0.25"] * 7, *rest, ""],
        [
            *["1", "FAIL", "0.001", "64", "1.0", "", "", "2", "", "0", "", ""],
            *[*[""] * 8, "0.0", "0.0", "encoder1", 'the loss is NaN in epoch 1, "so what"'],
        ],
    ]


def test_columns_follow_the_validation_ids() -> None:
    assert [c for c in columns(["10", "left"]) if c.startswith("val_")] == [
        *["val_score", "val_auc_10", "val_pauc_10", "val_auc_left", "val_pauc_left", "val_loss"],
    ]


def test_a_study_without_records_has_a_table_all_the_same(local: UPath) -> None:
    write(local)
    assert read(local) == [COLUMNS]


def test_a_failed_trial_of_a_sampled_inlier_model_names_it(local: UPath) -> None:
    write(local, failed(Proposal(0, Configuration(1e-3, 64, 1.0), InlierSpec("lof", 8))))
    head, line = read(local)
    cells = dict(zip(head, line, strict=True))
    assert (cells["state"], cells["inlier"], cells["p"]) == ("FAIL", "lof", "8")


def test_whose_idea_a_trial_was_can_be_seen(local: UPath) -> None:
    warm = Proposal(0, Configuration(1e-3, 64, 1.0), origin="runs/fan trial 3")
    again = Proposal(1, Configuration(1e-3, 64, 1.0), seed=7, rerun_of=0)
    write(local, complete(warm, row("none", None, 0.5)), complete(again, row("none", None, 0.5)))
    table = pd.read_csv(str(local / "trials.csv"), dtype=str, keep_default_na=False)
    assert list(table["origin"]) == ["runs/fan trial 3", ""]
    assert list(table["rerun_of"]) == ["", "0"]
    assert list(table["seed"]) == ["0", "7"]


def test_a_pruned_trial_has_no_score(local: UPath) -> None:
    write(local, complete(Proposal(0, Configuration(1e-3, 64, 1.0)), state=State.PRUNED))
    table = pd.read_csv(str(local / "trials.csv"))
    assert list(table["state"]) == ["PRUNED"]
    assert table["val_score"].isna().all()


def test_numbers_survive_the_table(local: UPath) -> None:
    write(local, *records())
    table = pd.read_csv(str(local / "trials.csv"))
    assert table["val_score"][0] == 1 / 3
    assert table["lr"][0] == 0.1 + 0.2


# Kept up to date


class Clock:
    """A clock that advances by a second at each call, so a write takes one."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(local: UPath, clock: Clock) -> TrialsFile:
    return TrialsFile(local, make_space(), clock=clock)


def numbers(file: TrialsFile) -> list[int]:
    """Trials that stand in the file, in its order."""
    return [int(line[0]) for line in read(file.path.parent)[1:]]


def scored(number: int) -> Record:
    return complete(Proposal(number, Configuration(1e-3, 64, 1.0)), row("none", None, 0.5))


def test_the_order_is_that_of_the_trials_and_not_of_their_ends(file: TrialsFile) -> None:
    for number in (10, 2, 9):
        file.add(scored(number))
    file.write()
    assert numbers(file) == [2, 9, 10]
    file.add(scored(3))
    file.write()
    assert numbers(file) == [2, 3, 9, 10]


def test_a_trial_is_written_at_once_unless_there_was_a_write_just_now(
    file: TrialsFile, clock: Clock
) -> None:
    file.add(scored(0))
    file.write_when_due()
    assert numbers(file) == [0]
    file.add(scored(1))
    file.write_when_due()
    assert numbers(file) == [0]
    clock.now += PAUSE
    file.write_when_due()
    assert numbers(file) == [0, 1]


def test_writing_takes_a_small_share_of_the_time_however_many_trials_end(
    file: TrialsFile, clock: Clock
) -> None:
    written = 0
    for number in range(10 * PAUSE):
        file.add(scored(number))
        before = file.due
        file.write_when_due()
        written += file.due != before
    assert 5 <= written <= 12
    file.write()
    assert numbers(file) == list(range(10 * PAUSE))


def test_nothing_is_written_where_nothing_is_new(file: TrialsFile, clock: Clock) -> None:
    file.add(scored(0))
    file.write()
    file.path.unlink()
    clock.now += 2 * PAUSE
    file.write_when_due()
    assert not file.path.exists()
