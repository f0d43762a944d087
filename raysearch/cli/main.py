"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

import gc
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from raysearch import __version__
from raysearch.cli.cluster import attach, fetch, run_on_cluster, stop
from raysearch.cli.data import app as data_app
from raysearch.cli.data import init
from raysearch.cli.joining import find_address
from raysearch.cli.options import Address, ClusterFile, Data, Out
from raysearch.cli.process import run_as_process
from raysearch.cli.results import (
    compare,
    dashboard,
    ensemble,
    export,
    final,
    report,
    status,
    verify,
)
from raysearch.cli.score import score, threshold
from raysearch.cli.search import reproduce, run
from raysearch.cli.surroundings import (
    check_encoding,
    check_home,
    check_texts,
    explanation,
    settle,
    store_explanation,
)
from raysearch.errors import MachineError, NoResultError, StoppedError, UserError, printable

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
    check_texts(sys.argv)
    from rich.console import Console

    from raysearch.cli.doctor import doctor as examine_all
    from raysearch.storage import to_path

    if not examine_all(
        to_path(data).absolute(), to_path(out).absolute(), find_address(address), Console()
    ):
        raise typer.Exit(1)


app.command()(run)
app.command()(reproduce)
app.command()(init)
for _command in (
    *(status, report, compare, ensemble, final, score, threshold, export, dashboard, verify),
    *(attach, stop, fetch),
):
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
    check_encoding()
    check_home()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End a run on SIGTERM, by which a cluster stops a run, as on Ctrl-C."""
    # Ray's handler, which may have run first, would abort the process in 3 s.
    signal.alarm(0)
    raise KeyboardInterrupt


def invoke() -> None:
    """Run a command; bad input gives one line and exit code 2."""
    # Imported objects stay; to collect garbage among them takes a tenth of the time of all imports.
    gc.set_threshold(GARBAGE, 20, 100)
    signal.signal(signal.SIGTERM, _interrupt)
    settle()
    try:
        app()
    except (UserError, MachineError, NoResultError, StoppedError) as error:
        typer.echo(f"raysearch: {printable(str(error))}", err=True)
        code = {MachineError: 1, NoResultError: 1, StoppedError: 130}.get(type(error), 2)
        raise SystemExit(code) from None
    except Exception as error:
        of_store = store_explanation(error)
        line = of_store or explanation(error)
        if not line:
            raise
        typer.echo(f"raysearch: {printable(line)}", err=True)
        raise SystemExit(1 if of_store else 2) from None


def main() -> None:
    """Run a command as all that this process does."""
    run_as_process(invoke)
