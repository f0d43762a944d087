"""A grid of encoders on demo data, each scored after every epoch, on which searches are replayed.

    python analysis/grid.py --out analysis-output

trains 48 encoders for valves (4 learning rates x 3 batch sizes x 4 lambda) and 6 for fans, from
which the valves' search is warm-started. It takes about half an hour on two cores and resumes when
it is started again. It writes `grid-valve.parquet` and `grid-fan.parquet`: a row for each encoder,
epoch, inlier model and p, with the score of the encoder of the least validation loss so far, which
raysearch sees at a rung and after the last epoch. The other programs of this folder make missing
tables.
"""

import argparse
import itertools
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raysearch.training.outcome import Epoch, InlierResult, best_row

EPOCHS = 15
FAN = {"batch_size": (32,), "lambda": (0.1, 2.0, 10.0), "lr": (1e-3, 5e-3)}
VALVE = {
    "batch_size": (16, 32, 64),
    "lambda": (0.1, 0.5, 2.0, 10.0),
    "lr": (5e-4, 1.36e-3, 3.7e-3, 1e-2),
}
GRIDS = {"valve": VALVE, "fan": FAN}
PROCESSES = 2


@dataclass(frozen=True)
class Point:
    """An encoder of a grid."""

    machine: str
    lr: float
    batch_size: int
    lam: float

    def part(self, out: Path) -> Path:
        """Return the file of the encoder's rows, which exists once the encoder is trained."""
        return out / "parts" / f"{self.machine}-{self.lr:g}-{self.batch_size}-{self.lam:g}.parquet"


def points(machine: str) -> list[Point]:
    """List the encoders of a machine type's grid."""
    grid = GRIDS[machine]
    return [
        Point(machine, lr, int(size), lam)
        for lr, size, lam in itertools.product(grid["lr"], grid["batch_size"], grid["lambda"])
    ]


def table(machine: str, out: Path) -> pd.DataFrame:
    """Return the table of a machine type; train the encoders that it lacks."""
    path = out / f"grid-{machine}.parquet"
    if not path.is_file():
        data = out / "demo"
        _make_demo(data)
        missing = [point for point in points(machine) if not point.part(out).is_file()]
        context = multiprocessing.get_context("spawn")
        with context.Pool(PROCESSES, _one_thread) as pool:
            results = pool.imap_unordered(_train, [(point, data, out) for point in missing])
            for count, result in enumerate(results, start=1):
                print(f"{machine}: {count}/{len(missing)} encoders, {result}", flush=True)
        parts = [pd.read_parquet(point.part(out)) for point in points(machine)]
        pd.concat(parts, ignore_index=True).to_parquet(path)
    return pd.read_parquet(path)


def _make_demo(data: Path) -> None:
    from raysearch.data.synthetic.demo import DemoSize, write_demo

    if not (data / "whole").exists():
        write_demo(data, DemoSize(train_clips=40, test_clips=20))
        (data / "whole").touch()


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _train(task: tuple[Point, Path, Path]) -> str:
    from raysearch.data.dataset import open_data
    from raysearch.data.source import make_source
    from raysearch.model.encoder import Encoder
    from raysearch.storage import to_path
    from raysearch.study.space_files import find_space, load_space
    from raysearch.training.configuration import Configuration, TrialConfig
    from raysearch.training.train import train
    from raysearch.training.trial import score_inlier_models

    point, root, out = task
    space = load_space(find_space("valve", Path("demo.yaml")))
    options = space.fixed.model_copy(update={"epochs": EPOCHS})
    source = make_source(to_path(str(root)), point.machine, space.validation_ids, options)
    data = open_data(source)
    config = TrialConfig(
        machine=point.machine,
        data=data.fingerprint,
        configuration=Configuration(point.lr, point.batch_size, point.lam),
        seed=0,
        options=options,
    )
    rows_at: dict[int, Sequence[InlierResult]] = {}

    def judge(encoder: Encoder, epoch: int) -> float | None:
        rows_at[epoch] = score_inlier_models(encoder, config, data, space.search.specs)
        best = best_row(rows_at[epoch])
        return best.val_score if best else None

    # An interrupted training starts from scratch: the scores of its epochs were not saved.
    folder = point.part(out).with_suffix(".encoder")
    _remove(folder)
    trained = train(config, data, lambda _: None, folder, judge, range(1, EPOCHS + 1))
    rows, latest = [], rows_at[1]
    for epoch in trained.history:
        # An epoch that brings no better encoder is not scored again.
        latest = rows_at.get(epoch.epoch, latest)
        rows += [_row(point, epoch, row) for row in latest]
    _remove(folder)
    pd.DataFrame(rows).to_parquet(point.part(out).with_suffix(".tmp"))
    point.part(out).with_suffix(".tmp").rename(point.part(out))
    return f"{point}: {trained.history[-1].val_score:.4f}"


def _row(point: Point, epoch: Epoch, row: InlierResult) -> dict[str, Any]:
    return {
        "lr": point.lr,
        "batch_size": point.batch_size,
        "lambda": point.lam,
        "epoch": epoch.epoch,
        "val_machine_loss": epoch.val_machine_loss,
        "val_product_loss": epoch.val_product_loss,
        "inlier": row.inlier,
        "p": row.p,
        "val_score": row.val_score,
    }


def _remove(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()
    if folder.is_dir():
        folder.rmdir()


def main(arguments: Sequence[str] | None = None) -> None:
    """Make both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    out = parser.parse_args(arguments).out
    for machine in GRIDS:
        rows = table(machine, out)
        last = rows[rows["epoch"] == EPOCHS].groupby(["lr", "batch_size", "lambda"])["val_score"]
        print(f"{machine}: best scores {last.max().min():.4f} to {last.max().max():.4f}")


if __name__ == "__main__":
    main()
