"""Commands about runs on a cluster, typed on another machine."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from raysearch.cli.options import echo
from raysearch.errors import StoppedError, UserError

if TYPE_CHECKING:
    from raysearch.remote.cluster_file import ClusterFile
    from raysearch.remote.jobs import Client

SHOWN_LINES = 20
"""Earlier log lines of a running run that are shown at first."""

Cluster = Annotated[Path, typer.Option(help="The file that `ray up` was given.")]
Job = Annotated[
    str | None,
    typer.Argument(
        help="A run, such as raysearch-valve-20261124-093012.", show_default="the latest"
    ),
]


def run_on_cluster(cluster: Path, argv: Sequence[str]) -> None:
    """Run a typed command on a cluster and follow it to its end.

    Args:
        cluster: the file of the cluster.
        argv: the command, from `run` on, with or without --cluster.

    Raises:
        UserError: the command has no meaning on a cluster, or the cluster cannot be reached.
        StoppedError: by Ctrl-C, which leaves the run running.
        typer.Exit: with the run's exit code.
    """
    from raysearch.remote.arguments import remote_command
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    command = remote_command(argv, {**os.environ, **file.environment})
    from raysearch.remote import jobs

    with jobs.connect(file) as client:
        before = jobs.find_running(client, command.metadata)
        if before is not None:
            echo(
                f"{before.id} is already running this, started by: "
                f"{before.metadata.get('command', before.entrypoint)}"
            )
            _follow(client, file, before.id, last=SHOWN_LINES)
        job = jobs.submit(client, command.arguments, command.files, command.metadata)
        echo(f"{job} on cluster {file.name}; Ctrl-C leaves it running")
        _follow(client, file, job)


def status_on_cluster(cluster: Path, runs: Sequence[str], *, as_json: bool) -> NoReturn:
    """Show the status of runs, as the head of a cluster reports it.

    Args:
        cluster: the file of the cluster.
        runs: folders as the cluster names them; empty for those of the latest run.
        as_json: for programs.

    Raises:
        UserError: a folder has no meaning on a cluster, or the cluster cannot be reached.
        typer.Exit: with the command's exit code.
    """
    from raysearch.remote.arguments import run_folders, shared_path
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    folders = [shared_path(run, "RUN") for run in runs] or run_folders(_entrypoint(file, None))
    from raysearch.remote import jobs

    arguments = ("status", *folders, *(["--json"] if as_json else []))
    with jobs.connect(file) as client:
        job = jobs.submit(client, arguments, {}, {"kind": "status", "machine": ""})
        _follow(client, file, job)


def attach(job: Job = None, cluster: Cluster = Path("cluster.yaml")) -> None:
    """Follow the log of a run on a cluster, from its latest lines on.

    Ctrl-C leaves it running; the exit code is the run's.

    Example: raysearch attach --cluster cluster.yaml
    """
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    from raysearch.remote import jobs

    with jobs.connect(file) as client:
        run = jobs.latest_run(client, job)
        echo(f"{run.id} ({run.state.lower()}): {run.metadata.get('command', run.entrypoint)}")
        _follow(client, file, run.id, last=SHOWN_LINES)


def stop(job: Job = None, cluster: Cluster = Path("cluster.yaml")) -> None:
    """Stop a run on a cluster. Its trials keep their checkpoints.

    The command that started it resumes it.

    Example: raysearch stop --cluster cluster.yaml raysearch-valve-20261124-093012
    """
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    from raysearch.remote import jobs
    from raysearch.remote.follow import STOPPED, follow, read_log

    with jobs.connect(file) as client:
        run = jobs.latest_run(client, job)
        # Read before the stop, so that all lines after it are shown.
        shown = read_log(client, run.id)
        if not run.live or not jobs.stop(client, run.id):
            raise UserError(f"{run.id} is not running: it {_end(run.state)}")
        command = run.metadata.get("command", run.entrypoint)
        echo(f"stopping {run.id}")
        code = follow(client, lambda: jobs.connect(file), run.id, typer.echo, shown=shown)
        if code != STOPPED:
            echo(f"{run.id} ended before it was stopped, with exit code {code}")
            return
        echo(f"stopped; resume with: {command}")


def fetch(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run, or its folder as the cluster names it: an absolute path or a URI.",
            show_default="the latest",
        ),
    ] = None,
    cluster: Cluster = Path("cluster.yaml"),
    to: Annotated[Path, typer.Option(help="Folder for the run's folder.")] = Path("runs"),
) -> None:
    """Copy a run's results to this machine: tables, detector, submission.

    Example: raysearch fetch --cluster cluster.yaml /mnt/shared/runs/valve
    """
    from raysearch.remote.arguments import run_folders
    from raysearch.remote.cluster_file import read_cluster_file
    from raysearch.remote.fetch import fetch as copy
    from raysearch.storage import is_uri

    if run is not None and is_uri(run):
        file, folders = None, [run]
    else:
        file = read_cluster_file(cluster)
        folders = [run] if run and "/" in run else run_folders(_entrypoint(file, run))
    if not folders:
        raise UserError(f"{run} is no run: it left no results")
    for folder in folders:
        for path in copy(None if is_uri(folder) else file, folder, to):
            echo(path)


def _entrypoint(file: "ClusterFile", job: str | None) -> str:
    from raysearch.remote import jobs

    with jobs.connect(file) as client:
        return jobs.latest_run(client, job).entrypoint


def _follow(client: "Client", file: "ClusterFile", job: str, last: int | None = None) -> NoReturn:
    from raysearch.remote import jobs
    from raysearch.remote.follow import follow

    try:
        code = follow(client, lambda: jobs.connect(file), job, typer.echo, last=last)
    except KeyboardInterrupt:
        option = shlex.join(["--cluster", str(file.path), job])
        raise StoppedError(
            f"left running: `raysearch attach {option}` follows it again, `raysearch stop "
            f"{option}` stops it, `raysearch fetch {option}` brings its results"
        ) from None
    raise typer.Exit(code)


def _end(state: str) -> str:
    return {"SUCCEEDED": "ended", "FAILED": "failed"}.get(state, "was stopped")
