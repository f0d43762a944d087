"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

import gc
import os
import signal
import sys
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from raysearch import __version__
from raysearch.backend.resources import Resources
from raysearch.cli.cluster import attach, fetch, run_on_cluster, stop
from raysearch.cli.data import app as data_app
from raysearch.cli.data import init, need_data
from raysearch.cli.options import (
    Address,
    AllowDefects,
    Channel,
    ClusterFile,
    Concurrent,
    CpusPerTrial,
    Dashboard,
    Data,
    Epochs,
    Fresh,
    GpuHours,
    GpusPerTrial,
    GroundTruth,
    KeepCheckpoints,
    Machine,
    Name,
    NoFinal,
    NoReport,
    Out,
    Seed,
    Space,
    TimeBudget,
    Trials,
    WarmStart,
    WorkersPerTrial,
    parse_gpus,
    parse_hours,
    parse_time,
    typed_command,
)
from raysearch.cli.results import compare, dashboard, export, final, report, score, status
from raysearch.errors import NoResultError, StoppedError, UserError

if TYPE_CHECKING:
    from upath import UPath

    from raysearch.pipeline.request import Request
    from raysearch.storage import AnyPath

GARBAGE = 200_000
"""New objects after which Python collects garbage; by default 700."""

app = typer.Typer(
    help="Find the best detector of anomalous machine sounds, and test it once on held-out IDs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")


@app.command()
def run(
    machine: Machine,
    data: Data = "data",
    out: Out = "runs",
    space: Space = None,
    trials: Trials = None,
    epochs: Epochs = None,
    seed: Seed = None,
    concurrent: Concurrent = None,
    gpus_per_trial: GpusPerTrial = None,
    workers_per_trial: WorkersPerTrial = 1,
    cpus_per_trial: CpusPerTrial = None,
    address: Address = None,
    dashboard: Dashboard = True,
    cluster: ClusterFile = None,
    time_budget: TimeBudget = None,
    gpu_hours: GpuHours = None,
    warm_start: WarmStart = None,
    name: Name = None,
    channel: Channel = None,
    ground_truth: GroundTruth = None,
    allow_defects: AllowDefects = False,
    keep_checkpoints: KeepCheckpoints = False,
    fresh: Fresh = False,
    no_final: NoFinal = False,
    no_report: NoReport = False,
) -> None:
    """Search the best configuration for a machine type, and test it once.

    The same command again resumes. With --cluster it runs on a cluster.

    Example: raysearch run --machine valve --data data --trials 50
    """
    limit, hours, gpus = parse_time(time_budget), parse_hours(gpu_hours), parse_gpus(gpus_per_trial)
    if cluster is not None:
        return run_on_cluster(cluster, sys.argv[1:])
    from raysearch.pipeline.request import Request

    request = Request(
        *_folders(data, out),
        Resources(gpus, cpus_per_trial, concurrent, workers_per_trial),
        space=space,
        trials=trials,
        epochs=epochs,
        seed=seed,
        channel=channel,
        name=name,
        ground_truth=_to_path(ground_truth) if ground_truth else None,
        time_budget=limit,
        gpu_hours=hours,
        warm_start=tuple(_to_path(folder) for folder in warm_start or ()),
        address=_address(address),
        dashboard=dashboard,
        keep_checkpoints=keep_checkpoints,
        allow_defects=allow_defects,
        fresh=fresh,
        final=not no_final,
        report=not no_report,
    )
    _run(request, machine)


def _folders(data: str, out: str) -> "tuple[UPath, UPath]":
    """Return the folders of recordings and results; the first must exist."""
    folder = _to_path(data)
    need_data(folder)
    return folder, _to_path(out)


def _to_path(text: str) -> "UPath":
    from raysearch.storage import to_path

    return to_path(text)


def _run(request: "Request", machines: list[str]) -> None:
    from raysearch.pipeline.run import run as run_studies
    from raysearch.report.live import show_on_console

    request = replace(request, command=typed_command())
    try:
        with show_on_console() as (view, bars):
            run_studies(request, _machine_types(machines, request.data), [view], bars)
    except KeyboardInterrupt:
        raise StoppedError("stopped; the same command resumes from here") from None


@app.command()
def doctor(
    data: Data = "data",
    out: Out = "runs",
    address: Address = None,
    cluster: ClusterFile = None,
) -> None:
    """Check this machine, or every machine of a cluster.

    Versions, GPUs that torch sees, recordings, storage, free disk, clocks, token, dashboard.

    Example: raysearch doctor --cluster cluster.yaml --data /shared/data --out /shared/runs
    """
    if cluster is not None:
        run_on_cluster(cluster, sys.argv[1:])
        return
    from rich.console import Console

    from raysearch.cli.doctor import doctor as examine_all
    from raysearch.storage import to_path

    if not examine_all(
        to_path(data).absolute(), to_path(out).absolute(), _address(address), Console()
    ):
        raise typer.Exit(1)


app.command()(init)
for _command in (status, report, compare, final, score, export, dashboard, attach, stop, fetch):
    app.command()(_command)


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


def _machine_types(machines: list[str], data: "AnyPath") -> list[str]:
    if "all" not in machines:
        return list(dict.fromkeys(machines))
    from raysearch.data.index import read_index

    return read_index(data).machines


def _address(option: str | None) -> str:
    """Return the address of the cluster to join; empty for none."""
    from raysearch.backend.address import find_local_ray

    if option == "local":
        os.environ.pop("RAY_ADDRESS", None)
        return ""
    return option or find_local_ray()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End a run on SIGTERM, by which a cluster stops a run, as on Ctrl-C."""
    # Ray's handler, which may have run first, would abort the process in 3 s.
    signal.alarm(0)
    raise KeyboardInterrupt


def main() -> None:
    """Run a command; bad input gives one line and exit code 2."""
    # OpenMP reads it once, when torch is loaded; see `backend.environment`.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported objects stay; to collect garbage among them takes a tenth of the time of all imports.
    gc.set_threshold(GARBAGE, 20, 100)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except (UserError, NoResultError, StoppedError) as error:
        typer.echo(f"raysearch: {error}", err=True)
        code = {NoResultError: 1, StoppedError: 130}.get(type(error), 2)
        raise SystemExit(code) from None
