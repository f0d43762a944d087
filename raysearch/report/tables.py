"""Tables of a study and over all studies: CSV for programs, Markdown and LaTeX for people."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml
from tabulate import tabulate
from upath import UPath

from raysearch.errors import UserError
from raysearch.score.metrics import harmonic_mean
from raysearch.search.space import Space
from raysearch.search.study import Record, StudyFolder
from raysearch.search.winner import Winner, frozen
from raysearch.storage import children, write_text

MACHINES = ("fan", "gearbox", "pump", "valve", "slider", "ToyCar", "ToyTrain")
"""The paper's order of columns; other machine types follow by name."""


def trials_table(records: Sequence[Record], validation_ids: Sequence[str]) -> pd.DataFrame:
    """One row per trial, inlier model and p, in the order of the trials.

    A trial that failed has one row, without inlier model; a setting that could not be fitted has
    its row with the reason in `error`.
    """
    rows = [row for record in records for row in _trial_rows(record, validation_ids)]
    judged = [f"val_{kind}_{i}" for i in validation_ids for kind in ("auc", "pauc")]
    columns = [
        *("trial", "state", "lr", "batch_size", "lambda", "inlier", "p", "epochs", "best_epoch"),
        *("seed", "val_score", *judged, "val_loss", "train_seconds", "score_seconds"),
        *("encoder", "error"),
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"p": "Int64", "best_epoch": "Int64"})


def _trial_rows(record: Record, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
    proposal = record.proposal
    common = {
        "trial": proposal.number,
        "state": str(record.state),
        "lr": proposal.lr,
        "batch_size": proposal.batch_size,
        "lambda": proposal.lam,
        "inlier": proposal.inlier,
        "p": proposal.p,
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "seed": record.seed,
        "val_loss": record.val_loss,
        "train_seconds": round(record.train_seconds, 3),
        "score_seconds": round(record.score_seconds, 3),
        "encoder": record.encoder,
        "error": record.error,
    }
    if not record.rows:
        yield common
    for row in record.rows:
        scores: dict[str, Any] = {"inlier": row.inlier, "p": row.p, "val_score": row.val_score}
        scores |= {f"val_auc_{i}": row.auc.get(i) for i in ids}
        scores |= {f"val_pauc_{i}": row.pauc.get(i) for i in ids}
        yield common | scores | {"error": row.error}


def write_trials(folder: UPath, records: Sequence[Record], validation_ids: Sequence[str]) -> None:
    """Writes `trials.csv`."""
    write_text(folder / "trials.csv", trials_table(records, validation_ids).to_csv(index=False))


def write_best(folder: UPath, winner: Winner, space: Space, remark: str) -> None:
    """Writes `best_config.{csv,md,tex,yaml}`; the YAML is a space of this one configuration."""
    row = {
        "machine": winner.machine,
        "lr": winner.lr,
        "batch_size": winner.batch_size,
        "lambda": winner.lam,
        "inlier": winner.inlier,
        "p": winner.p,
        "val_score": winner.val_score,
    }
    table = pd.DataFrame([row]).astype({"p": "Int64"})
    write_text(folder / "best_config.csv", table.to_csv(index=False))
    shown = [_number(value) for value in row.values()]
    _write_people(folder / "best_config", [shown], list(row))
    write_text(folder / "best_config.yaml", _rerun(winner, space, remark))


def _rerun(winner: Winner, space: Space, remark: str) -> str:
    content = {
        "method": space.method,
        "validation_ids": list(space.validation_ids),
        "test_ids": list(space.test_ids),
        "search": {
            "lr": winner.lr,
            "batch_size": winner.batch_size,
            "lambda": winner.lam,
            "inlier": {winner.inlier: [] if winner.p is None else [winner.p]},
        },
        "fixed": space.fixed.model_dump(),
        "strategy": {"trials": 1, "seed": winner.seed},
    }
    head = f"# Best configuration for {winner.machine}: validation score {winner.val_score:.4f}.\n"
    note = f"# Note: {remark}.\n" if remark else ""
    again = f"# raysearch run --machine {winner.machine} --space best_config.yaml --name again\n"
    return head + note + again + yaml.safe_dump(content, sort_keys=False)


def export(out: UPath) -> list[UPath]:
    """Writes `best_configs.*` (Table I's shape) and `results.*` (Table II's) over all studies.

    Raises:
        UserError: no study under `out` has a best configuration.
    """
    folders = [folder for folder in children(out) if StudyFolder(folder).exists()]
    winners = {f: w for f in folders if (w := frozen(f)) is not None}
    if not winners:
        raise UserError(f"{out} holds no finished study; `raysearch run` makes one")
    columns = _column_names(winners)
    ordered = sorted(winners, key=lambda f: _order(winners[f].machine, columns[f]))
    configs = {columns[f]: _table_one(winners[f]) for f in ordered}
    results = {columns[f]: _final_score(f / "final_test.csv") for f in ordered}
    tested = [score for score in results.values() if score is not None]
    all_column = harmonic_mean(tested) if tested else None
    written = _write_all(out / "best_configs", _transposed(configs), people=_number)
    method = StudyFolder(ordered[0]).facts["space"]["method"]
    table = [{"method": method, **results, "All": all_column}]
    return written + _write_all(out / "results", table, people=_percent)


def _column_names(winners: Mapping[UPath, Winner]) -> dict[UPath, str]:
    machines = [winner.machine for winner in winners.values()]
    return {
        folder: w.machine if machines.count(w.machine) == 1 else folder.name
        for folder, w in winners.items()
    }


def _order(machine: str, column: str) -> tuple[int, str]:
    return (MACHINES.index(machine) if machine in MACHINES else len(MACHINES), column)


def _table_one(winner: Winner) -> dict[str, Any]:
    return {
        "lr": winner.lr,
        "batch_size": winner.batch_size,
        "lambda": winner.lam,
        "inlier": winner.inlier,
        "p": winner.p,
        "val_score": winner.val_score,
    }


def _transposed(configs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = next(iter(configs.values())).keys()
    return [
        {"parameter": name, **{column: config[name] for column, config in configs.items()}}
        for name in names
    ]


def _final_score(path: UPath) -> float | None:
    """Harmonic mean of AUC and pAUC over test IDs, from the rows of `final_test.csv`."""
    if not path.is_file():
        return None
    table = pd.read_csv(io.StringIO(path.read_text()), dtype={"id": str})
    ids = table[table["id"] != "hmean"]
    return harmonic_mean([*ids["auc"], *ids["pauc"]])


def _write_all(stem: UPath, rows: list[dict[str, Any]], *, people: Any) -> list[UPath]:
    frame = pd.DataFrame(rows, dtype=object)
    write_text(stem.with_suffix(".csv"), frame.to_csv(index=False))
    shown = [[people(value) for value in row.values()] for row in rows]
    return [stem.with_suffix(".csv"), *_write_people(stem, shown, list(rows[0]))]


def _write_people(stem: UPath, rows: list[list[str]], headers: list[str]) -> list[UPath]:
    paths = []
    for suffix, kind in ((".md", "github"), (".tex", "latex_booktabs")):
        text = tabulate(rows, headers, tablefmt=kind, disable_numparse=True)
        write_text(stem.with_suffix(suffix), text + "\n")
        paths.append(stem.with_suffix(suffix))
    return paths


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: Any) -> str:
    return f"{100 * value:.2f}" if isinstance(value, float) else _number(value)
