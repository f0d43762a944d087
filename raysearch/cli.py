"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from raysearch import __version__
from raysearch.cli_data import app as data_app
from raysearch.cli_data import need_data
from raysearch.errors import NoResultError, StoppedError, UserError

app = typer.Typer(
    help="Finds the best detector of anomalous machine sounds, and tests it honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")


Data = Annotated[
    Path, typer.Option(help="Folder of the data set.", envvar="RAYSEARCH_DATA", show_envvar=True)
]
Out = Annotated[Path, typer.Option(help="Folder of the results.")]


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
    float | None,
    typer.Option(min=0, help="GPUs of a trial; 0.25 packs four on one.", show_default="1 if there"),
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
NoFinal = Annotated[
    bool, typer.Option("--no-final", help="Leave the final test on the test IDs out.")
]


@app.command()
def run(
    machine: Machine,
    data: Data = Path("data"),
    out: Out = Path("runs"),
    space: Space = None,
    trials: Trials = None,
    epochs: Epochs = None,
    seed: Seed = None,
    concurrent: Concurrent = None,
    gpus_per_trial: GpusPerTrial = None,
    cpus_per_trial: CpusPerTrial = None,
    time_budget: TimeBudget = None,
    name: Name = None,
    channel: Channel = None,
    ground_truth: GroundTruth = None,
    allow_defects: AllowDefects = False,
    fresh: Fresh = False,
    no_final: NoFinal = False,
) -> None:
    """Search the best configuration for a machine type, and test it once.

    The same command again goes on where it stopped.

    Example: raysearch run --machine valve --data data --trials 50
    """
    budget = None if time_budget is None else _seconds(time_budget)
    need_data(data)
    from rich.console import Console

    from raysearch.run import Request
    from raysearch.run import run as run_study
    from raysearch.search.resources import Resources

    console = Console()
    machines = _machines(machine, data)
    for one in machines:
        request = Request(
            data=data,
            out=out,
            space=space,
            trials=trials,
            epochs=epochs,
            seed=seed,
            channel=channel,
            name=name if name is None or len(machines) == 1 else f"{name}-{one}",
            ground_truth=ground_truth,
            time_budget=budget,
            resources=Resources(gpus_per_trial, cpus_per_trial, concurrent),
            allow_defects=allow_defects,
            fresh=fresh,
            final=not no_final,
            command=_command(),
        )
        try:
            run_study(request, one, console)
        except KeyboardInterrupt:
            raise StoppedError("stopped; the same command goes on from here") from None


@app.command()
def final(
    run: Annotated[Path, typer.Argument(help="Folder of a run, such as runs/valve.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the run's")
    ] = None,
) -> None:
    """Repeat the final test of a run's frozen configuration (noted in its ledger)."""
    from rich.console import Console

    from raysearch.conclusion import repeat_final

    repeat_final(run, data, _command(), Console())


@app.command()
def score(
    detector: Annotated[Path, typer.Argument(help="Folder of a detector: runs/valve/detector.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings.", show_default=False)],
    id: Annotated[
        str | None,
        typer.Option(help="Product ID of the recordings.", show_default="from their names"),
    ] = None,
) -> None:
    """Score recordings: prints file,id,score,decision as CSV (1 = anomalous)."""
    import csv

    from raysearch.detector import load_detector, score_files

    writer = csv.writer(sys.stdout, lineterminator="\n")
    rows = score_files(load_detector(detector), files, id)
    writer.writerow(["file", "id", "score", "decision"])
    for path, identity, value, anomalous in rows:
        writer.writerow([path, identity, repr(value), int(anomalous)])


@app.command()
def export(out: Out = Path("runs")) -> None:
    """Write the tables over all runs: best_configs.* and results.* (csv, md, tex)."""
    from raysearch.report.tables import export as write_tables

    for path in write_tables(out):
        typer.echo(path)


@app.command()
def dashboard(
    run: Annotated[Path, typer.Argument(help="Folder of a run, such as runs/valve.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.")] = 8080,
) -> None:
    """Open optuna-dashboard on a run's study, on 127.0.0.1 only."""
    journal = run / "study.journal"
    if not journal.is_file():
        raise UserError(f"{run} holds no study.journal; `raysearch run` makes one")
    from raysearch.search.dashboard import serve

    serve(journal, port)


def _command() -> str:
    """The command as it was typed, for study.json and the ledger."""
    return shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def _version(value: bool) -> None:
    if value:
        typer.echo(f"raysearch {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _machines(asked: list[str], data: Path) -> list[str]:
    if asked != ["all"]:
        return list(dict.fromkeys(asked))
    from raysearch.audio.index import read_index

    return read_index(data).machines


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise UserError(f"--time-budget {text}: expected a number and s, m, h or d, such as 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def main() -> None:
    """Runs a command; bad input gives one line and exit code 2."""
    # OpenMP reads it once, when torch is loaded: threads that spin while they wait make torch
    # slower by orders of magnitude as soon as anything else wants the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except (UserError, NoResultError, StoppedError) as error:
        typer.echo(f"raysearch: {error}", err=True)
        code = {NoResultError: 1, StoppedError: 130}.get(type(error), 2)
        raise SystemExit(code) from None
