"""Final tests of all methods, with intervals over clips and seeds.

    python analysis/compare_methods.py --data data --out runs/methods --machine valve --seeds 3

Every method is searched with one space, `search_spaces/<machine>.yaml` of the working folder or as
shipped, and its winner meets the test IDs once; each search is repeated with other seeds. Inlier
models other than `none` are those of the space; autoencoder, flow and the DDCSAD family score by
themselves. `frozen` has random weights where the space has `pretrained: false`.

Writes methods.csv, methods.md and methods.tex into --out, beside the studies. The same command
again resumes. Four machine types with 50 to 200 training clips, a tiny backbone, two trials of 20
epochs and three seeds take half an hour on two cores.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.backend.resources import Resources
from raysearch.pipeline.reproduce import search_systems
from raysearch.pipeline.request import Request
from raysearch.report.live import show_on_console
from raysearch.report.paper_tables import write_table
from raysearch.storage import to_path
from raysearch.study.members import NO_INLIER
from raysearch.study.systems import System

FLOOR: Mapping[str, Any] = {"inlier": {"mahalanobis": [0.1, 0.5], "knn": [1, 2, 4]}}
"""Inlier models of embeddings that no training has shaped."""

METHODS = (
    System("baseline", "baseline", {"fixed": {"method": "baseline"}, "search": FLOOR}),
    System("frozen", "frozen", {"fixed": {"method": "frozen"}, "search": FLOOR}),
    System("autoencoder", "autoencoder", {"fixed": {"method": "autoencoder"}, "search": NO_INLIER}),
    System("flow", "flow", {"fixed": {"method": "flow"}, "search": NO_INLIER}),
    System("serial", "serial", {"fixed": {"method": "serial"}}),
    System("serial_aam", "serial, angular margin", {"fixed": {"method": "serial_aam"}}),
    System("ddcsad", "DDCSAD", {"fixed": {"method": "ddcsad"}, "search": NO_INLIER}),
    System(
        "deep_sad",
        "Deep SAD",
        {"fixed": {"method": "ddcsad", "ddcsad_metric": "deep_sad"}, "search": NO_INLIER},
    ),
    System(
        "only-product-ids",
        "only product IDs",
        {"fixed": {"method": "proposed", "machine_loss": False}},
    ),
    System("without-mixup", "without Mixup", {"fixed": {"method": "proposed", "mixup": "off"}}),
    System("proposed", "proposed", {"fixed": {"method": "proposed"}}),
    System("parallel", "parallel", {"fixed": {"method": "parallel"}}),
)


def main() -> None:
    """Search all methods and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", default="runs/methods")
    parser.add_argument("--machine", action="append", required=True)
    parser.add_argument("--space", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    out = to_path(arguments.out)
    request = Request(
        to_path(arguments.data),
        out,
        Resources(),
        space=arguments.space,
        trials=arguments.trials,
        epochs=arguments.epochs,
        dashboard=False,
        report=False,
        command="compare_methods.py",
    )
    with show_on_console() as (view, bars):
        search_systems(METHODS, request, arguments.machine, arguments.seeds, [view], bars)
    for path in write_table(out / "methods", METHODS, arguments.machine, arguments.seeds):
        if path.suffix == ".md":
            print(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
