"""Tables: their columns, what stands in them, and that the best configuration runs again."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from upath import UPath

from raysearch.config import Options
from raysearch.errors import UserError
from raysearch.report.tables import export, trials_table, write_best, write_trials
from raysearch.score.inlier import InlierSpec
from raysearch.score.metrics import harmonic_mean
from raysearch.search.space import Space, load_space
from raysearch.search.study import Proposal, Record, StudyFolder
from raysearch.search.winner import Winner, freeze
from raysearch.storage import write_text
from raysearch.trial import InlierResult
from tests.records import SPACE, complete, failed, make_space, row

VALIDATION_IDS = ("0", "1", "2")
COLUMNS = [
    *["trial", "state", "lr", "batch_size", "lambda", "inlier", "p", "epochs", "best_epoch"],
    *["seed", "val_score", "val_auc_0", "val_pauc_0", "val_auc_1", "val_pauc_1", "val_auc_2"],
    *["val_pauc_2", "val_loss", "train_seconds", "score_seconds", "encoder", "error"],
]


def read(path: UPath) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))


def records() -> list[Record]:
    auc, pauc = {"0": 0.1, "1": 0.2, "2": 0.3}, {"0": 0.4, "1": 0.5, "2": 0.6}
    return [
        complete(
            Proposal(0, 0.1 + 0.2, 32, 0.1),
            InlierResult("gmm", 4, 1 / 3, auc, pauc, remark="degenerate"),
            row("gmm", 64, None, "gmm with p=64 needs 64 segments, has 10"),
            row("none", None, 0.25),
        ),
        failed(Proposal(1, 1e-3, 64, 1.0), 'the loss is NaN in epoch 1, "so what"'),
    ]


def test_trials_have_the_columns_that_are_promised(tmp_path: Path) -> None:
    write_trials(tmp_path, records(), VALIDATION_IDS)
    head, *lines = read(tmp_path / "trials.csv")
    assert head == COLUMNS
    common = ["0", "COMPLETE", "0.30000000000000004", "32", "0.1"]
    rest = ["0.5", "1.235", "2.0", "encoder0"]
    thirds = ["0.3333333333333333", "0.1", "0.4", "0.2", "0.5", "0.3", "0.6"]
    assert lines == [
        [*common, "gmm", "4", "2", "1", "0", *thirds, *rest, ""],
        [
            *[*common, "gmm", "64", "2", "1", "0"],
            *[*[""] * 7, *rest, "gmm with p=64 needs 64 segments, has 10"],
        ],
        [*common, "none", "", "2", "1", "0", *["0.25"] * 7, *rest, ""],
        [
            *["1", "FAIL", "0.001", "64", "1.0", "", "", "2", "", "0"],
            *[*[""] * 8, "0.0", "0.0", "encoder1", 'the loss is NaN in epoch 1, "so what"'],
        ],
    ]


def test_columns_follow_the_validation_ids() -> None:
    columns = list(trials_table(records(), ["10", "left"]).columns)
    assert [c for c in columns if c.startswith("val_")] == [
        *["val_score", "val_auc_10", "val_pauc_10", "val_auc_left", "val_pauc_left", "val_loss"],
    ]


def test_a_study_without_records_has_a_table_all_the_same(tmp_path: Path) -> None:
    write_trials(tmp_path, [], VALIDATION_IDS)
    assert read(tmp_path / "trials.csv") == [COLUMNS]


def test_a_failed_trial_of_a_sampled_inlier_model_names_it(tmp_path: Path) -> None:
    write_trials(tmp_path, [failed(Proposal(0, 1e-3, 64, 1.0, "lof", 8))], VALIDATION_IDS)
    head, line = read(tmp_path / "trials.csv")
    found = dict(zip(head, line, strict=True))
    assert (found["state"], found["inlier"], found["p"]) == ("FAIL", "lof", "8")


def test_numbers_survive_the_table(tmp_path: Path) -> None:
    write_trials(tmp_path, records(), VALIDATION_IDS)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["val_score"][0] == 1 / 3
    assert table["lr"][0] == 0.1 + 0.2


# The best configuration


def winner(machine: str = "valve", **changes: Any) -> Winner:
    facts: dict[str, Any] = {
        "machine": machine,
        "trial": 3,
        "encoder": "0123456789ab",
        "lr": 0.0012345678901234567,
        "batch_size": 64,
        "lam": 10.0,
        "inlier": "gmm",
        "p": 4,
        "val_score": 2 / 3,
        "seed": 7,
        "data": "data",
    }
    return Winner(**(facts | changes))


def space(**fixed: Any) -> Space:
    return Space.model_validate(
        SPACE | {"validation_ids": [1, "left"], "test_ids": [10], "fixed": fixed}
    )


def test_the_best_configuration_has_the_columns_that_are_promised(tmp_path: Path) -> None:
    write_best(tmp_path, winner(), space(), "")
    assert read(tmp_path / "best_config.csv") == [
        ["machine", "lr", "batch_size", "lambda", "inlier", "p", "val_score"],
        [*["valve", "0.0012345678901234567", "64", "10.0", "gmm", "4"], "0.6666666666666666"],
    ]


@pytest.mark.parametrize(("inlier", "p"), [("gmm", 4), ("none", None)])
def test_the_yaml_is_a_space_of_this_one_configuration(
    tmp_path: Path, inlier: str, p: int | None
) -> None:
    asked = space(epochs=17, backbone="test_efficientnet", pretrained=False, channel=2)
    best = winner(inlier=inlier, p=p)
    write_best(tmp_path, best, asked, "")
    again = load_space(tmp_path / "best_config.yaml")
    assert again.fixed == asked.fixed
    assert again.fixed != Options()
    assert (again.validation_ids, again.test_ids) == (("1", "left"), ("10",))
    assert again.search.lr == (best.lr,)
    assert again.search.batch_size == (best.batch_size,)
    assert again.search.lam == (best.lam,)
    assert again.search.specs == (InlierSpec(inlier, p),)
    assert (again.strategy.trials, again.strategy.seed) == (1, 7)
    assert (again.strategy.inlier, again.strategy.sampler) == ("sweep", "tpe")


@pytest.mark.parametrize("number", [1e-5, 3e-4, 1e-3, 0.1 + 0.2, 1.0])
def test_every_number_survives_the_yaml(tmp_path: Path, number: float) -> None:
    write_best(tmp_path, winner(lr=number, lam=number), space(), "")
    search = load_space(tmp_path / "best_config.yaml").search
    assert search.lr == search.lam == (number,)


def test_the_yaml_says_what_it_is_and_what_to_know(tmp_path: Path) -> None:
    write_best(tmp_path, winner(), space(), "degenerate: 4 full components on 10 segments")
    text = (tmp_path / "best_config.yaml").read_text()
    assert "# Best configuration for valve: validation score 0.6667." in text
    assert "# Note: degenerate: 4 full components on 10 segments." in text
    assert "raysearch run --machine valve" in text
    assert yaml.safe_load(text)["search"]["inlier"] == {"gmm": [4]}


def cells(path: Path) -> list[list[str]]:
    """Cells of a Markdown or a LaTeX table."""
    lines = path.read_text().splitlines()
    if path.suffix == ".md":
        rows = [line.strip().strip("|").split("|") for line in lines if not line.startswith("|--")]
    else:
        rows = [line.removesuffix("\\\\").split("&") for line in lines if line.endswith("\\\\")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_people_get_it_rounded(tmp_path: Path, suffix: str) -> None:
    write_best(tmp_path, winner(inlier="none", p=None), space(), "")
    head, line = cells(tmp_path / f"best_config.{suffix}")
    assert [cell.replace("\\_", "_") for cell in head] == [
        *["machine", "lr", "batch_size", "lambda", "inlier", "p", "val_score"]
    ]
    assert line == ["valve", "0.001235", "64", "10", "none", "-", "0.6667"]


# All studies


def make_study(out: UPath, name: str, best: Winner | None, **scores: tuple[float, float]) -> UPath:
    study = StudyFolder(out / name)
    study.begin({"space": make_space().model_dump(mode="json", by_alias=True)})
    if best is not None:
        freeze(best, study.path)
    if scores:
        pairs = [(i.removeprefix("id"), *pair) for i, pair in scores.items()]
        means = [harmonic_mean(pair[column] for pair in pairs) for column in (1, 2)]
        lines = [["machine", "id", "auc", "pauc"], *(["m", *map(str, pair)] for pair in pairs)]
        lines.append(["m", "hmean", *map(str, means)])
        write_text(study.path / "final_test.csv", "\n".join(map(",".join, lines)) + "\n")
    return study.path


@pytest.fixture
def out(folder: UPath) -> UPath:
    make_study(folder, "lathe", winner("lathe", inlier="none", p=None), id03=(0.5, 0.5))
    make_study(folder, "valve", winner("valve"), id3=(0.9, 0.6), id10=(0.8, 0.7))
    make_study(folder, "fan", winner("fan", lr=1e-3, inlier="lof", p=16))
    make_study(folder, "unfinished", None)
    write_text(folder / "something else" / "note", "")
    write_text(folder / "a file", "")
    return folder


def test_best_configurations_have_a_column_for_each_machine(out: UPath) -> None:
    export(out)
    assert read(out / "best_configs.csv") == [
        ["parameter", "fan", "valve", "lathe"],  # the paper's order, then others by name
        ["lr", "0.001", "0.0012345678901234567", "0.0012345678901234567"],
        ["batch_size", "64", "64", "64"],
        ["lambda", "10.0", "10.0", "10.0"],
        ["inlier", "lof", "gmm", "none"],
        ["p", "16", "4", ""],
        ["val_score"] + ["0.6666666666666666"] * 3,
    ]


def test_results_have_a_column_for_each_machine_and_one_for_all(out: UPath) -> None:
    export(out)
    head, line = read(out / "results.csv")
    assert head == ["method", "fan", "valve", "lathe", "All"]
    valve = 4 / (1 / 0.9 + 1 / 0.6 + 1 / 0.8 + 1 / 0.7)
    assert line[:2] == ["proposed", ""]
    assert [float(v) for v in line[2:]] == pytest.approx([valve, 0.5, 2 / (1 / valve + 1 / 0.5)])


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_people_get_percent_and_a_dash_where_nothing_is(out: UPath, suffix: str) -> None:
    export(out)
    head, line = cells(out / f"results.{suffix}")
    assert head == ["method", "fan", "valve", "lathe", "All"]
    assert line == ["proposed", "-", "73.31", "50.00", "59.45"]
    configs = cells(out / f"best_configs.{suffix}")
    assert configs[0] == ["parameter", "fan", "valve", "lathe"]
    assert configs[5] == ["p", "16", "4", "-"]
    assert configs[6][0].replace("\\_", "_") == "val_score"


def test_what_was_written_is_told(out: UPath) -> None:
    assert sorted(map(str, export(out))) == sorted(
        str(out / f"{stem}.{suffix}")
        for stem in ("best_configs", "results")
        for suffix in ("csv", "md", "tex")
    )
    assert all(path.is_file() for path in export(out))


def test_two_studies_of_a_machine_go_by_the_names_of_their_folders(out: UPath) -> None:
    make_study(out, "fan-again", winner("fan"))
    export(out)
    head = read(out / "results.csv")[0]
    assert head == ["method", "fan", "fan-again", "valve", "lathe", "All"]


def test_machines_stand_in_the_papers_order(tmp_path: Path) -> None:
    paper = ["fan", "gearbox", "pump", "valve", "slider", "ToyCar", "ToyTrain"]
    for machine in sorted([*paper, "ToyConveyor", "bearing"]):
        make_study(tmp_path, machine, winner(machine))
    export(tmp_path)
    assert read(tmp_path / "best_configs.csv")[0][1:] == [*paper, "ToyConveyor", "bearing"]


def test_without_a_final_test_there_is_no_mean(tmp_path: Path) -> None:
    make_study(tmp_path, "fan", winner("fan"))
    export(tmp_path)
    assert read(tmp_path / "results.csv")[1] == ["proposed", "", ""]
    assert cells(tmp_path / "results.md")[1] == ["proposed", "-", "-"]


def test_an_id_of_zero_makes_the_mean_zero(tmp_path: Path) -> None:
    make_study(tmp_path, "fan", winner("fan"), id3=(0.9, 0.0), id4=(0.9, 0.8))
    export(tmp_path)
    assert [float(v) for v in read(tmp_path / "results.csv")[1][1:]] == [0.0, 0.0]


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    make_study(tmp_path, "unfinished", None)
    with pytest.raises(UserError, match="holds no finished study"):
        export(tmp_path)
