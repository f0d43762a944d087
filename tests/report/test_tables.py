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
from raysearch.report.tables import export, write_best
from raysearch.report.wording import format_score
from raysearch.scoring.inlier import InlierSpec
from raysearch.scoring.metrics import harmonic_mean
from raysearch.storage import write_text
from raysearch.study.confidence import Confidence, write_confidence
from raysearch.study.folder import StudyFolder
from raysearch.study.space import Space
from raysearch.study.space_files import load_space
from raysearch.study.winner import Winner, freeze_winner
from tests.files import put
from tests.records import SPACE, make_manifest


@pytest.fixture
def local(tmp_path: Path) -> UPath:
    return UPath(tmp_path)


def read(path: UPath) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))


# The best configuration

COLUMNS = [
    *("lr", "batch_size", "lambda", "inlier", "p", "val_score", "seeds", "mean_score"),
    *("std_score", "ci_low", "ci_high", "choices", "unselected_score", "note"),
]


def winner(machine: str = "valve", **changes: Any) -> Winner:
    content: dict[str, Any] = {
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
    return Winner.from_json(content | changes)


def space(**fixed: Any) -> Space:
    return Space.model_validate(
        SPACE | {"validation_ids": [1, "left"], "test_ids": [10], "fixed": fixed}
    )


def test_the_best_configuration_has_the_columns_that_are_promised(local: UPath) -> None:
    write_best(local, winner(), Confidence(), space())
    assert read(local / "best_config.csv") == [
        ["machine", *COLUMNS],
        [
            *["valve", "0.0012345678901234567", "64", "10.0", "gmm", "4", "0.6666666666666666"],
            *["1", "0.6666666666666666", "", "", "", "1", "", ""],
        ],
    ]


SEEDS = {"seeds": 3, "mean_score": 0.5, "std_score": 0.1 + 0.2}
SURE = Confidence(
    low=1 / 3,
    high=0.75,
    lead_low=-0.1,
    lead_high=0.2,
    note="so, and; so",
    choices=12,
    unselected=0.625,
)


def test_it_says_how_sure_it_is(local: UPath) -> None:
    write_best(local, winner("valve", **SEEDS), SURE, space())
    _, line = read(local / "best_config.csv")
    assert line[7:] == [
        *("3", "0.5", "0.30000000000000004", "0.3333333333333333", "0.75", "12", "0.625", SURE.note)
    ]
    text = (local / "best_config.yaml").read_text()
    assert "score 0.5000 ± 0.3000 over 3 seeds (95 % interval 0.333 to 0.750 over clips; " in text
    assert "best of 12, without selection 0.625).\n" in text
    assert "# Note: so, and; so.\n" in text
    assert cells(local / "best_config.md")[1][7:] == [
        "3",
        "0.5",
        "0.3",
        "0.3333",
        "0.75",
        "12",
        "0.625",
        SURE.note,
    ]


def test_of_one_seed_there_is_no_spread_to_tell() -> None:
    assert format_score(winner(), Confidence()) == "0.6667"
    text = format_score(winner(), Confidence(low=0.0, high=1.0))
    assert text == "0.6667 (95 % interval 0.000 to 1.000 over clips)"


def test_a_missing_interval_is_said() -> None:
    missing = Confidence(missing="too few clips for an interval: 2 normal, 3 anomalous")
    assert format_score(winner(), missing) == f"0.6667 ({missing.missing})"


def test_an_interval_over_seeds_says_so() -> None:
    pair = Confidence(of=(("a", "gmm", 4), ("b", "gmm", 4)), low=0.25, high=0.75)
    assert format_score(winner(), pair).endswith("0.250 to 0.750 over clips and seeds)")


@pytest.mark.parametrize(("inlier", "p"), [("gmm", 4), ("none", None)])
def test_the_yaml_is_a_space_of_this_one_configuration(
    local: UPath, inlier: str, p: int | None
) -> None:
    searched = space(epochs=17, backbone="test_efficientnet", pretrained=False, channel=2)
    best = winner(inlier=inlier, p=p)
    write_best(local, best, Confidence(), searched)
    again = load_space(Path(str(local / "best_config.yaml")))
    assert again.fixed == searched.fixed
    assert again.fixed != Options()
    assert (again.validation_ids, again.test_ids) == (("1", "left"), ("10",))
    assert again.search.lr == (best.configuration.lr,)
    assert again.search.batch_size == (best.configuration.batch_size,)
    assert again.search.lam == (best.configuration.lam,)
    assert again.search.specs == (InlierSpec(inlier, p),)
    assert (again.strategy.trials, again.strategy.seed) == (1, 7)
    assert again.finalists is None
    assert (again.strategy.inlier, again.strategy.sampler) == ("sweep", "tpe")


@pytest.mark.parametrize("number", [1e-5, 3e-4, 1e-3, 0.1 + 0.2, 1.0])
def test_every_number_survives_the_yaml(local: UPath, number: float) -> None:
    write_best(local, winner(lr=number, lam=number), Confidence(), space())
    search = load_space(Path(str(local / "best_config.yaml"))).search
    assert search.lr == search.lam == (number,)


def test_the_yaml_says_what_it_is_and_what_to_know(local: UPath) -> None:
    note = "degenerate: 4 full components on 10 segments"
    write_best(local, winner(), Confidence(note=note), space())
    text = (local / "best_config.yaml").read_text()
    assert "# Best configuration for valve: validation score 0.6667." in text
    assert "# Note: degenerate: 4 full components on 10 segments." in text
    assert "raysearch run --machine valve" in text
    assert yaml.safe_load(text)["search"]["inlier"] == {"gmm": [4]}


def cells(path: UPath) -> list[list[str]]:
    """Cells of a Markdown or a LaTeX table."""
    lines = path.read_text().splitlines()
    if path.suffix == ".md":
        rows = [line.strip().strip("|").split("|") for line in lines if not line.startswith("|--")]
    else:
        rows = [line.removesuffix("\\\\").split("&") for line in lines if line.endswith("\\\\")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_people_get_it_rounded(local: UPath, suffix: str) -> None:
    write_best(local, winner(inlier="none", p=None), Confidence(), space())
    head, line = cells(local / f"best_config.{suffix}")
    assert [cell.replace("\\_", "_") for cell in head] == ["machine", *COLUMNS]
    shown = ["valve", "0.001235", "64", "10", "none", "-", "0.6667", "1", "0.6667"]
    assert line == [*shown, "-", "-", "-", "1", "-", "-"]


# All studies


def make_study(out: UPath, name: str, best: Winner | None, **scores: tuple[float, float]) -> UPath:
    study = StudyFolder(out / name)
    study.create(make_manifest())
    if best is not None:
        freeze_winner(best, study.path)
    if scores:
        pairs = [(i.removeprefix("id"), *pair) for i, pair in scores.items()]
        means = [harmonic_mean(column) for column in zip(*scores.values(), strict=True)]
        lines = [["machine", "id", "auc", "pauc"], *(["m", *map(str, pair)] for pair in pairs)]
        lines.append(["m", "hmean", *map(str, means)])
        write_text(study.path / "final_test.csv", "\n".join(map(",".join, lines)) + "\n")
    return study.path


@pytest.fixture
def out(folder: UPath) -> UPath:
    make_study(folder, "lathe", winner("lathe", inlier="none", p=None), id03=(0.5, 0.5))
    valve = make_study(folder, "valve", winner("valve", **SEEDS), id3=(0.9, 0.6), id10=(0.8, 0.7))
    write_confidence(SURE, valve)
    make_study(folder, "fan", winner("fan", lr=1e-3, inlier="lof", p=16))
    make_study(folder, "unfinished", None)
    put(folder / "something else" / "note", "")
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
        ["seeds", "1", "3", "1"],
        ["mean_score", "0.6666666666666666", "0.5", "0.6666666666666666"],
        ["std_score", "", "0.30000000000000004", ""],
        ["ci_low", "", "0.3333333333333333", ""],
        ["ci_high", "", "0.75", ""],
        ["choices", "1", "12", "1"],
        ["unselected_score", "", "0.625", ""],
        ["note", "", "so, and; so", ""],
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


def test_programs_get_a_row_for_each_study_with_exact_numbers(out: UPath) -> None:
    export(out)
    studies = pd.read_parquet(io.BytesIO((out / "studies.parquet").read_bytes()))
    assert list(studies["run"]) == list(studies["machine"]) == ["fan", "valve", "lathe"]
    valve = studies.iloc[1]
    assert (valve["lr"], valve["p"], valve["seeds"]) == (0.0012345678901234567, 4, 3)
    assert valve["final_score"] == float(read(out / "results.csv")[1][2])
    assert studies["final_score"].isna().tolist() == [True, False, False]
    assert studies["p"].isna().tolist() == [False, False, True]


def test_what_was_written_is_told(out: UPath) -> None:
    tables = [
        f"{stem}.{suffix}"
        for stem in ("best_configs", "results")
        for suffix in ("csv", "md", "tex")
    ]
    assert sorted(map(str, export(out))) == sorted(
        str(out / name) for name in (*tables, "studies.parquet")
    )
    assert all(path.is_file() for path in export(out))


def test_two_studies_of_a_machine_go_by_the_names_of_their_folders(out: UPath) -> None:
    make_study(out, "fan-again", winner("fan"))
    export(out)
    head = read(out / "best_configs.csv")[0]
    assert head == ["parameter", "fan", "fan-again", "valve", "lathe"]


@pytest.fixture
def series(local: UPath) -> UPath:
    """Three series of studies: two of both machine types, one of a single one."""
    make_study(local, "fan", winner("fan"), id3=(0.6, 0.6))
    make_study(local, "valve", winner("valve"), id3=(0.9, 0.9))
    make_study(local, "wide-fan", winner("fan"), id3=(0.8, 0.8))
    make_study(local, "wide-valve", winner("valve"), id3=(0.9000001, 0.9000001))
    make_study(local, "try", winner("fan"), id3=(0.7, 0.7))
    export(local)
    return local


def test_results_have_a_row_for_each_series(series: UPath) -> None:
    head, *rows = read(series / "results.csv")
    assert head == ["method", "fan", "valve", "All"]
    assert [row[0] for row in rows] == ["proposed", "proposed (try)", "proposed (wide)"]
    figures = [[round(float(cell), 6) for cell in row[1:3] if cell] for row in rows]
    assert figures == [[0.6, 0.9], [0.7], [0.8, 0.9]]
    # Over fewer machine types than the others there is no mean to compare.
    assert [bool(row[3]) for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("others", "rows"),
    [
        ((), ["proposed"]),
        (("fan",), ["proposed", "proposed (proposed)"]),
    ],
)
def test_a_series_called_as_its_method_is_named_once(
    local: UPath, others: tuple[str, ...], rows: list[str]
) -> None:
    for name in others:
        make_study(local, name, winner("fan"), id3=(0.6, 0.6))
    make_study(local, "proposed-fan", winner("fan"))
    make_study(local, "proposed-valve", winner("valve"), id3=(0.9, 0.9))
    export(local)
    assert [row[0] for row in read(local / "results.csv")[1:]] == rows


def test_the_best_of_a_column_is_bold_as_are_equals_of_what_is_shown(series: UPath) -> None:
    assert [row[1:] for row in cells(series / "results.tex")[1:]] == [
        ["60.00", r"\textbf{90.00}", "72.00"],
        ["70.00", "-", "-"],
        [r"\textbf{80.00}", r"\textbf{90.00}", r"\textbf{84.71}"],
    ]
    assert [row[1:] for row in cells(series / "results.md")[1:]] == [
        ["60.00", "**90.00**", "72.00"],
        ["70.00", "-", "-"],
        ["**80.00**", "**90.00**", "**84.71**"],
    ]


def test_latex_is_a_table_with_rules_whose_texts_are_escaped(series: UPath) -> None:
    lines = (series / "best_configs.tex").read_text().splitlines()
    assert [line for line in lines if line.endswith("rule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert any(line.startswith(r"batch\_size &") for line in lines)


def test_machines_stand_in_the_papers_order(local: UPath) -> None:
    paper = ["fan", "gearbox", "pump", "valve", "slider", "ToyCar", "ToyTrain"]
    for machine in sorted([*paper, "ToyConveyor", "bearing"]):
        make_study(local, machine, winner(machine))
    export(local)
    assert read(local / "best_configs.csv")[0][1:] == [*paper, "ToyConveyor", "bearing"]


def test_without_a_final_test_there_is_no_mean(local: UPath) -> None:
    make_study(local, "fan", winner("fan"))
    export(local)
    assert read(local / "results.csv")[1] == ["proposed", "", ""]
    assert cells(local / "results.md")[1] == ["proposed", "-", "-"]


def test_an_id_of_zero_makes_the_mean_zero(local: UPath) -> None:
    make_study(local, "fan", winner("fan"), id3=(0.9, 0.0), id4=(0.9, 0.8))
    export(local)
    assert [float(v) for v in read(local / "results.csv")[1][1:]] == [0.0, 0.0]


def test_nothing_to_export_is_said(local: UPath) -> None:
    make_study(local, "unfinished", None)
    with pytest.raises(UserError, match="holds no finished study"):
        export(local)
