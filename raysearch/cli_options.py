"""The flags of the commands: one place for what they are called and how they explain themselves."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path, typer.Option(help="Folder of the data set.", envvar="RAYSEARCH_DATA", show_envvar=True)
]
Out = Annotated[
    str,
    typer.Option(
        help="Folder of the results: a path, s3://... or gs://...",
        envvar="RAYSEARCH_OUT",
        show_envvar=True,
    ),
]
Machine = Annotated[
    list[str], typer.Option(help="Machine type; again for more, or `all`.", show_default=False)
]
Space = Annotated[
    Path | None,
    typer.Option(
        help="Space file. Default: search_spaces/<machine>.yaml or default.yaml, of this "
        "folder, else as shipped.",
        show_default=False,
    ),
]
Trials = Annotated[
    int | None, typer.Option(min=1, help="Trials in all.", show_default="space file")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs of a trial.", show_default="space file")
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Seed of everything.", show_default="space file"),
]
Concurrent = Annotated[
    int | None, typer.Option(min=1, help="Trials at once.", show_default="what fits")
]
GpusPerTrial = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|auto",
        help="GPUs of a trial; 0.25 packs four on one, 2 trains on two together, `auto` measures "
        "how many fit on one.",
        show_default="1 if there",
    ),
]
WorkersPerTrial = Annotated[
    int, typer.Option(min=1, help="Processes that train one trial together, on CPUs or a GPU each.")
]
CpusPerTrial = Annotated[
    int | None, typer.Option(min=1, help="CPUs of a trial.", show_default="an even share")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(help="Stop the search after this time: 90s, 30m, 2h, 1d.", show_default=False),
]
Name = Annotated[
    str | None, typer.Option(help="Name of the run's folder.", show_default="machine type")
]
Channel = Annotated[
    int | None,
    typer.Option(min=0, help="Channel to listen to, from 0.", show_default="mean of all"),
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(help="Folder of the ground-truth CSVs.", show_default="beside the data"),
]
AllowDefects = Annotated[
    bool, typer.Option("--allow-defects", help="Go on with over 1 % of defective files.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete the run's earlier results and start anew.")
]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to join, as HOST:PORT; `local` for this machine alone.",
        show_default="the one this machine is part of",
    ),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        help="Cluster file of `ray up`: run there, as a job that outlives this terminal.",
        show_default=False,
    ),
]
KeepCheckpoints = Annotated[
    bool,
    typer.Option("--keep-checkpoints", help="Keep the checkpoints of trials that did not win."),
]
NoFinal = Annotated[
    bool, typer.Option("--no-final", help="Leave the final test on the test IDs out.")
]
