"""Warm starts: Table I, and the best configurations of other studies."""

from pathlib import Path

import pytest
from upath import UPath

from raysearch.errors import UserError
from raysearch.scoring.spec import InlierSpec
from raysearch.search.warm_start import (
    WarmStart,
    best_starts,
    check_unseen,
    merge_starts,
    paper_start,
    read_warm_starts,
)
from raysearch.study.folder import StudyFolder
from raysearch.study.records import Proposal, Record, State
from raysearch.training.configuration import Configuration
from tests.records import complete, failed, make_manifest, make_space, row

PROPOSALS = [Proposal(number, Configuration(1e-3 * (number + 1), 32, 1.0)) for number in range(6)]


def scored(number: int, score: float) -> Record:
    return complete(PROPOSALS[number], row("gmm", 2, score), row("lof", 4, score - 0.1))


def test_table_one_of_the_paper() -> None:
    assert paper_start("valve") == WarmStart(
        Configuration(5e-4, 128, 10.0), "paper", InlierSpec("gmm", 32)
    )
    assert paper_start("ToyTrain") == WarmStart(
        Configuration(5e-4, 32, 0.1), "paper", InlierSpec("lof", 8)
    )


def test_the_best_configurations_of_a_study_come_best_first() -> None:
    records = [
        scored(0, 0.5),
        scored(1, 0.9),
        failed(PROPOSALS[2]),
        scored(3, 0.7),
        Record(PROPOSALS[4], State.PRUNED, "encoder4", 2, 0, "here"),
        scored(5, 0.8),
    ]
    starts = best_starts(records, "runs/fan")
    assert starts == [
        WarmStart(PROPOSALS[n].configuration, f"runs/fan trial {n}", InlierSpec("gmm", 2))
        for n in (1, 5, 3)
    ]


def test_an_encoder_counts_once_and_finalists_not_at_all() -> None:
    twice = [
        complete(
            Proposal(0, Configuration(1e-3, 32, 1.0), InlierSpec("gmm", 2)),
            row("gmm", 2, 0.8),
            encoder="same",
        ),
        complete(
            Proposal(1, Configuration(1e-3, 32, 1.0), InlierSpec("lof", 4)),
            row("lof", 4, 0.9),
            encoder="same",
        ),
        complete(
            Proposal(2, Configuration(1e-3, 32, 1.0), seed=1, rerun_of=0), row("lof", 4, 0.99)
        ),
    ]
    assert best_starts(twice, "x") == [
        WarmStart(Configuration(1e-3, 32, 1.0), "x trial 1", InlierSpec("lof", 4))
    ]


def test_every_studys_best_comes_before_any_second_best() -> None:
    a, b, c = (WarmStart(Configuration(1e-3, 32, 1.0), name) for name in "abc")
    assert merge_starts([[a, b], [], [c]]) == [a, c, b]
    assert merge_starts([]) == []


def write_study(folder: Path, *records: Record) -> None:
    study = StudyFolder(UPath(folder))
    study.create(make_manifest(machine=folder.name))
    for record in records:
        study.add(record)


def test_a_study_or_a_folder_of_studies_is_read(tmp_path: Path) -> None:
    write_study(tmp_path / "fan", scored(0, 0.5), scored(1, 0.9))
    write_study(tmp_path / "pump", scored(2, 0.6))
    (tmp_path / "notes.txt").write_text("no study")
    fan = [f"{tmp_path}/fan trial {number}" for number in (1, 0)]
    assert [start.origin for start in read_warm_starts(UPath(tmp_path / "fan"))] == fan
    both = [start.origin for start in read_warm_starts(UPath(tmp_path))]
    assert both == [fan[0], f"{tmp_path}/pump trial 2", fan[1]]


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--warm-start .*nowhere: no study there"):
        read_warm_starts(UPath(tmp_path / "nowhere"))
    write_study(tmp_path / "fan", failed(PROPOSALS[0]))
    with pytest.raises(UserError, match=r"--warm-start .*fan: no finished trial there"):
        read_warm_starts(UPath(tmp_path / "fan"))


def test_a_study_that_was_chosen_on_the_test_ids_is_refused(tmp_path: Path) -> None:
    """Its best configurations know the labels of clips that the final test is about."""
    swapped = make_space().model_copy(update={"validation_ids": ("4", "5"), "test_ids": ("0",)})
    for machine in ("valve", "fan"):
        StudyFolder(UPath(tmp_path / machine)).create(make_manifest(swapped, machine))
    check_unseen(UPath(tmp_path), "valve", ("0", "3"))
    check_unseen(UPath(tmp_path), "pump", ("4",))
    for folder in (tmp_path, tmp_path / "valve"):
        with pytest.raises(UserError, match=r"valve: its trials .* on ID 4, 5, .*test_ids"):
            check_unseen(UPath(folder), "valve", ("3", "4", "5"))


def test_a_shared_search_is_no_warm_start_for_what_it_was_chosen_on(tmp_path: Path) -> None:
    StudyFolder(UPath(tmp_path / "shared")).create(
        make_manifest(machine="shared", validation_ids=("valve/0", "fan/0"), test_ids=("pump/0",))
    )
    check_unseen(UPath(tmp_path), "valve", ("3",))
    check_unseen(UPath(tmp_path), "pump", ("0",))
    with pytest.raises(UserError, match=r"shared: its trials .* on ID 0, .*tests valve on"):
        check_unseen(UPath(tmp_path), "valve", ("0", "3"))


def test_an_ensemble_is_no_warm_start() -> None:
    configuration = Configuration(None, None, None, (("method", "parallel"),))
    ended = complete(Proposal(0, configuration), row("none", None, 0.9))
    assert best_starts([ended], "valve") == []
