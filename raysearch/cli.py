"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from raysearch import __version__
from raysearch.errors import UserError

app = typer.Typer(
    help="Finds the best detector of anomalous machine sounds, and tests it honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data sets: make, download, check.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class Domain(StrEnum):
    """Which recordings of a data set count."""

    source = "source"
    target = "target"
    both = "both"


Data = Annotated[
    Path, typer.Option(help="Folder of the data set.", envvar="RAYSEARCH_DATA", show_envvar=True)
]
Out = Annotated[Path, typer.Option(help="Folder of the results.")]


@app.command()
def run(
    machine: Annotated[
        list[str], typer.Option(help="Machine type; again for more, or `all`.", show_default=False)
    ],
    data: Data = Path("data"),
    out: Out = Path("runs"),
    space: Annotated[
        Path | None,
        typer.Option(
            help="Space file. Default: search_spaces/<machine>.yaml or default.yaml, of this "
            "folder, else as shipped.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all.", show_default="space file")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a trial.", show_default="space file")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything.", show_default="space file")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once.", show_default="what fits")
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            min=0, help="GPUs of a trial; 0.25 packs four on one.", show_default="1 if there"
        ),
    ] = None,
    cpus_per_trial: Annotated[
        int | None, typer.Option(min=1, help="CPUs of a trial.", show_default="an even share")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(help="Stop the search after this time: 90s, 30m, 2h, 1d.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run's folder.", show_default="machine type")
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option(min=0, help="Channel to listen to, from 0.", show_default="mean of all"),
    ] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="Folder of the ground-truth CSVs.", show_default="beside the data"),
    ] = None,
    allow_defects: Annotated[
        bool, typer.Option("--allow-defects", help="Go on with over 1 % of defective files.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the run's earlier results and start anew.")
    ] = False,
    no_final: Annotated[
        bool, typer.Option("--no-final", help="Leave the final test on the test IDs out.")
    ] = False,
) -> None:
    """Search the best configuration for a machine type, and test it once.

    The same command again goes on where it stopped.

    Example: raysearch run --machine valve --data data --trials 50
    """
    budget = None if time_budget is None else _seconds(time_budget)
    _need_data(data)
    from rich.console import Console

    from raysearch.run import Request, command_line
    from raysearch.run import run as run_study
    from raysearch.search.cluster import Resources

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
            command=command_line(sys.argv),
        )
        run_study(request, one, console)


@app.command()
def final(
    run: Annotated[Path, typer.Argument(help="Folder of a run, such as runs/valve.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the run's")
    ] = None,
) -> None:
    """Repeat the final test of a run's frozen configuration (noted in its ledger)."""
    from rich.console import Console

    from raysearch.run import command_line, test_again

    test_again(run, data, command_line(sys.argv), Console())


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


@data_app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write the data set.")],
    machine: Annotated[
        list[str] | None, typer.Option(help="Machine type; again for more.", show_default="all")
    ] = None,
    train_clips: Annotated[int, typer.Option(min=1, help="Training clips per ID.")] = 40,
    test_clips: Annotated[int, typer.Option(min=1, help="Test clips per ID and label.")] = 20,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a clip in s.")] = 4.0,
    snr: Annotated[float, typer.Option(help="Machine against factory noise, in dB.")] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same gives the same bytes.")] = 0,
) -> None:
    """Write a synthetic data set in the layout of DCASE 2021 Task 2."""
    from rich.console import Console

    from raysearch.audio.demo import MACHINES, write_demo
    from raysearch.report.progress import progress

    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; choose a new folder")
    with progress(Console(), "writing clips", None) as advance:
        count = write_demo(
            folder,
            machines=tuple(machine) if machine else MACHINES,
            train_clips=train_clips,
            test_clips=test_clips,
            seconds=seconds,
            snr_db=snr,
            seed=seed,
            on_clip=lambda done, total: advance(1),
        )
    typer.echo(f"{count} clips in {folder}")


@data_app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    domain: Annotated[Domain, typer.Option(help="Which recordings count.")] = Domain.both,
    rate: Annotated[int, typer.Option(min=1, help="Sampling rate that is expected, in Hz.")] = 16000,
    segment: Annotated[float, typer.Option(min=0, help="Length of a segment in s.")] = 2.0,
) -> None:
    """Count a data set's clips and list every defective file with its reason."""
    _need_data(folder)
    from rich.console import Console

    from raysearch.audio.index import read_index
    from raysearch.report.data import show_counts, show_defects

    console = Console()
    index = read_index(folder, domain=domain.value)
    show_counts(index, console)
    show_defects(index, console, rate=rate, segment=round(segment * rate))


@data_app.command()
def download(
    folder: Annotated[Path, typer.Argument(help="Where to put the data set.")],
    machine: Annotated[
        list[str] | None, typer.Option(help="Machine type; again for more.", show_default="all")
    ] = None,
) -> None:
    """Download DCASE 2021 Task 2 from Zenodo (about 20 GB); goes on where it stopped."""
    from rich.console import Console

    from raysearch.report.progress import download_bar

    download_bar(folder, machine, Console())


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


def _need_data(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"no data: {folder} is not a folder; get the real set with `raysearch data download "
            f"{folder}`, or a synthetic one with `raysearch data demo {folder}`"
        )


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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        app()
    except UserError as error:
        typer.echo(f"raysearch: error: {error}", err=True)
        raise SystemExit(2) from None
