"""Commands about runs on a cluster, from a machine outside of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from raysearch.errors import StoppedError, UserError

if TYPE_CHECKING:
    from raysearch.remote.cluster_file import ClusterFile
    from raysearch.remote.jobs import Client

SHOWN_LINES = 20
"""How many lines of a run that is at work are shown at first."""

Cluster = Annotated[Path, typer.Option(help="The file that `ray up` was given.")]
Job = Annotated[
    str | None,
    typer.Argument(
        help="A run, such as raysearch-valve-20261124-093012.", show_default="the latest"
    ),
]


def run_on_cluster(cluster: Path, argv: Sequence[str]) -> None:
    """Runs a typed command on a cluster and follows it to its end.

    Args:
        cluster: the file of the cluster.
        argv: the command, from `run` on; --cluster may be in it.

    Raises:
        UserError: the command means nothing on a cluster, or the cluster cannot be reached.
        StoppedError: by Ctrl-C, which leaves the run at work.
        typer.Exit: with the run's exit code.
    """
    from raysearch.remote.arguments import remote_command
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    command = remote_command(argv, {**os.environ, **file.places})
    from raysearch.remote import jobs

    with jobs.connected(file) as client:
        before = jobs.running(client, command.metadata)
        if before is not None:
            typer.echo(
                f"{before.id} is at work on this already, started by: "
                f"{before.metadata.get('command', before.entrypoint)}"
            )
            _follow(client, file, before.id, last=SHOWN_LINES)
        job = jobs.submit(client, command.arguments, command.files, command.metadata)
        typer.echo(f"{job} on cluster {file.name}; Ctrl-C leaves it at work")
        _follow(client, file, job)


def status_on_cluster(cluster: Path, runs: Sequence[str], *, as_json: bool) -> NoReturn:
    """Asks the head of a cluster how runs stand.

    Args:
        cluster: the file of the cluster.
        runs: folders as the cluster names them; none is those of the latest run.
        as_json: for programs.

    Raises:
        UserError: a folder means nothing there, or the cluster cannot be reached.
        typer.Exit: with the command's exit code.
    """
    from raysearch.remote.arguments import reached, run_folders
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    folders = [reached(run, "RUN") for run in runs] or run_folders(_entrypoint(file, None))
    from raysearch.remote import jobs

    arguments = ("status", *folders, *(["--json"] if as_json else []))
    with jobs.connected(file) as client:
        job = jobs.submit(client, arguments, {}, {"kind": "status", "machine": ""})
        _follow(client, file, job)


def attach(job: Job = None, cluster: Cluster = Path("cluster.yaml")) -> None:
    """Follow a run on a cluster: its latest lines, and what comes.

    Ctrl-C leaves it at work; the exit code is the run's.

    Example: raysearch attach --cluster cluster.yaml
    """
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    from raysearch.remote import jobs

    with jobs.connected(file) as client:
        run = jobs.latest(client, job)
        typer.echo(f"{run.id} ({run.state.lower()}): {run.metadata.get('command', run.entrypoint)}")
        _follow(client, file, run.id, last=SHOWN_LINES)


def stop(job: Job = None, cluster: Cluster = Path("cluster.yaml")) -> None:
    """Stop a run on a cluster. Its trials keep their checkpoints.

    The command that started it goes on from there.

    Example: raysearch stop --cluster cluster.yaml raysearch-valve-20261124-093012
    """
    from raysearch.remote.cluster_file import read_cluster_file

    file = read_cluster_file(cluster)
    from raysearch.remote import jobs
    from raysearch.remote.follow import STOPPED, follow, log_of

    with jobs.connected(file) as client:
        run = jobs.latest(client, job)
        # Before it is stopped: its last words are shown, however soon they come.
        known = log_of(client, run.id)
        if not run.live or not jobs.stop(client, run.id):
            raise UserError(f"{run.id} is not at work: it {_ended(run.state)}")
        again = run.metadata.get("command", run.entrypoint)
        typer.echo(f"stopping {run.id}")
        code = follow(client, lambda: jobs.connected(file), run.id, typer.echo, known=known)
        if code != STOPPED:
            typer.echo(f"{run.id} ended before it was stopped, with exit code {code}")
            return
        typer.echo(f"stopped; this goes on from here: {again}")


def fetch(
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run, or its folder as the cluster names it: an absolute path or a URI.",
            show_default="the latest",
        ),
    ] = None,
    cluster: Cluster = Path("cluster.yaml"),
    to: Annotated[Path, typer.Option(help="Where to put the run's folder.")] = Path("runs"),
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
            typer.echo(path)


def _entrypoint(file: "ClusterFile", job: str | None) -> str:
    from raysearch.remote import jobs

    with jobs.connected(file) as client:
        return jobs.latest(client, job).entrypoint


def _follow(client: "Client", file: "ClusterFile", job: str, last: int | None = None) -> NoReturn:
    from raysearch.remote import jobs
    from raysearch.remote.follow import follow

    try:
        code = follow(client, lambda: jobs.connected(file), job, typer.echo, last=last)
    except KeyboardInterrupt:
        option = f"--cluster {file.path} {job}"
        raise StoppedError(
            f"left at work: `raysearch attach {option}` follows it again, `raysearch stop "
            f"{option}` stops it, `raysearch fetch {option}` brings its results"
        ) from None
    raise typer.Exit(code)


def _ended(state: str) -> str:
    return {"SUCCEEDED": "ended", "FAILED": "failed"}.get(state, "was stopped")
