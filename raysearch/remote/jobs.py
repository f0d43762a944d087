"""Runs on a cluster, as jobs of Ray: submit, stop, list.

A job belongs to the cluster's head, not to this machine: it goes on when the laptop sleeps or the
tunnel breaks, and its log is kept there.
"""

import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import requests
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from raysearch.errors import UserError, one_line
from raysearch.remote.arguments import same_run
from raysearch.remote.cluster_file import ClusterFile
from raysearch.remote.tunnel import UnreachableError, tunnel

PREFIX = "raysearch-"
STOP_PATIENCE = 120
"""Seconds that a stopped run has to end its trials before Ray kills it."""
Client: TypeAlias = JobSubmissionClient
"""Of the jobs of a cluster."""
Details: TypeAlias = JobDetails
"""What a cluster knows of a job."""

LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray that tell of each request."""


@dataclass(frozen=True)
class RemoteRun:
    """A run on a cluster.

    Attributes:
        id: of the job.
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        live: whether it has not ended.
        metadata: of its RemoteCommand.
        entrypoint: the command that the head runs.
        started: s since 1970.
    """

    id: str
    state: str
    live: bool
    metadata: Mapping[str, str]
    entrypoint: str
    started: float


@contextmanager
def connected(cluster: ClusterFile) -> Iterator[Client]:
    """Opens a tunnel to a cluster and a client on it.

    Raises:
        UserError: the cluster is not up, cannot be reached, or refuses the token.
    """
    token = cluster.token()
    with tunnel(cluster) as address:
        yield client(address, token, str(cluster.path))


def client(address: str, token: str | None, where: str) -> Client:
    """A client of the jobs of the cluster at an address.

    Args:
        address: of the dashboard.
        token: of the cluster, if it asks for one.
        where: the cluster's file, for messages.

    Raises:
        UserError: the cluster asks for another token.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _only(address):
        try:
            return JobSubmissionClient(address, headers=headers)
        except AuthenticationError as error:
            raise UserError(
                f"{where}: the cluster refuses the token"
                if token
                else f"{where}: the cluster asks for a token, but its file does not set "
                "RAY_AUTH_MODE=token"
            ) from error
        except (RuntimeError, requests.RequestException, OSError) as error:
            raise UnreachableError(f"{where}: {one_line(error)[:300]}") from error


def submit(
    jobs: Client,
    arguments: Sequence[str],
    files: Mapping[str, Path],
    metadata: Mapping[str, str],
) -> str:
    """Has the head run `raysearch` in a folder that holds some files.

    Args:
        jobs: of the cluster.
        arguments: of `raysearch`.
        files: by their paths in that folder.
        metadata: of a RemoteCommand.

    Returns:
        The id of the job, such as raysearch-valve-20261124-093012.
    """
    what = re.sub(r"[^A-Za-z0-9]+", "-", metadata["machine"] or metadata["kind"]).strip("-")
    with tempfile.TemporaryDirectory() as folder:
        # An empty folder as well: the run then starts in a folder of its own in any case, and
        # finds no search_spaces/ that happens to lie where the head was started.
        for name, path in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        environment = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_PATIENCE)}
        with _request():
            job = jobs.submit_job(
                entrypoint=shlex.join(["raysearch", *arguments]),
                submission_id=f"{PREFIX}{what}-{datetime.now():%Y%m%d-%H%M%S}",
                metadata=dict(metadata),
                runtime_env={"working_dir": folder, "env_vars": environment},
            )
    return str(job)


def listing(jobs: Client) -> list[RemoteRun]:
    """The runs that a cluster knows, the latest last."""
    with _request():
        runs = [_run(details) for details in jobs.list_jobs() if _is_ours(details)]
    return sorted(runs, key=lambda run: run.started)


def latest(jobs: Client, job: str | None = None) -> RemoteRun:
    """A run: the one that is asked for, else the latest that is live, else the latest.

    Raises:
        UserError: there is none.
    """
    runs = [
        run for run in listing(jobs) if job == run.id or (not job and run.metadata["kind"] == "run")
    ]
    if not runs:
        known = ", ".join(run.id for run in listing(jobs)[-5:])
        what = f"the cluster knows no run {job}" if job else "nothing was run on the cluster yet"
        raise UserError(f"{what}; the latest are {known}" if known else what)
    return max(runs, key=lambda run: (run.live, run.started))


def running(jobs: Client, metadata: Mapping[str, str]) -> RemoteRun | None:
    """The live run that writes into the same folder as a command would, if there is one."""
    live = [run for run in listing(jobs) if run.live and same_run(run.metadata, metadata)]
    return live[-1] if live else None


def stop(jobs: Client, job: str) -> bool:
    """Asks a run to stop, as Ctrl-C would; True if it was live."""
    with _request():
        return bool(jobs.stop_job(job))


def details_of(jobs: Client, job: str) -> Details:
    """What the cluster knows of a job.

    Raises:
        UnreachableError: it did not answer.
        UserError: it does not know the job any more.
    """
    try:
        with _request():
            return jobs.get_job_info(job)
    except UnreachableError as error:
        if "status code 404" not in str(error):
            raise
        raise UserError(
            f"the cluster does not know {job} any more: its head was started anew; the same "
            "`raysearch run` goes on where it stopped"
        ) from error


@contextmanager
def _request() -> Iterator[None]:
    """Says in one line that the cluster did not do what it was asked."""
    try:
        yield
    except (RuntimeError, requests.RequestException, OSError) as error:
        raise UnreachableError(
            f"the cluster did not answer as it should: {one_line(error)[:300]}"
        ) from error


def _is_ours(details: Details) -> bool:
    return (details.submission_id or "").startswith(PREFIX)


def _run(details: Details) -> RemoteRun:
    return RemoteRun(
        id=str(details.submission_id),
        state=str(details.status.value),
        live=not details.status.is_terminal(),
        metadata=details.metadata or {},
        entrypoint=details.entrypoint,
        started=(details.start_time or 0) / 1000,
    )


@contextmanager
def _only(address: str) -> Iterator[None]:
    """Keeps Ray from preferring the addresses of these variables to the one that it is given."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
