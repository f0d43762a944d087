"""Runs on a cluster, as jobs of Ray: submit, stop, list.

A job belongs to the cluster's head, not to this machine: it keeps running when the laptop sleeps or
the tunnel breaks, and its log is kept on the head.
"""

import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import requests
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from raysearch.errors import UserError, one_line
from raysearch.remote.arguments import same_run
from raysearch.remote.cluster_file import ClusterFile
from raysearch.remote.listener import check_listener
from raysearch.remote.tunnel import UnreachableError, tunnel

PREFIX = "raysearch-"
STOP_PATIENCE = 120
"""Seconds that a stopped run has to end its trials before Ray kills it."""


class _LocalClient(JobSubmissionClient):
    """A client of a tunnel's end on this machine, which sends the token to no other user."""

    def _do_request(self, *arguments: Any, **options: Any) -> requests.Response:
        self._check()
        # A proxy would get the token, and cannot reach this machine's loopback.
        options["proxies"] = {"no_proxy": "*"}
        return super()._do_request(*arguments, **options)

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Receive the log of a job in pieces, until the job ends."""
        self._check()
        async with aclosing(super().tail_job_logs(job_id)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    def _check(self) -> None:
        address = urlsplit(self._address)
        if not check_listener(address.port or 80):
            raise ConnectionRefusedError(f"the tunnel to port {address.port} is lost")


Client: TypeAlias = JobSubmissionClient
"""Client of the jobs of a cluster."""
Details: TypeAlias = JobDetails
"""Details of a job, as the cluster reports them."""

LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray that log each request."""


@dataclass(frozen=True)
class RemoteRun:
    """A run on a cluster.

    Attributes:
        id: of the job.
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        live: True until the run ends.
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
def connect(cluster: ClusterFile) -> Iterator[Client]:
    """Open a tunnel to a cluster and a client on it.

    Raises:
        UserError: the cluster is not up, cannot be reached, or refuses the token.
    """
    token = cluster.token()
    with tunnel(cluster) as address:
        yield create_client(address, token, str(cluster.path))


def create_client(address: str, token: str | None, where: str) -> Client:
    """Create a client of the jobs of the cluster at an address.

    Args:
        address: of the dashboard.
        token: of the cluster; None if it needs none.
        where: the cluster's file, for messages.

    Raises:
        UserError: the cluster refuses the token.
        UnreachableError: the cluster did not answer.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _without_address_variables():
        try:
            return _LocalClient(address, headers=headers)
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
    """Send a `raysearch` command to the head, as a job in a folder with some files.

    Args:
        jobs: of the cluster.
        arguments: of `raysearch`.
        files: by their paths in that folder.
        metadata: of a RemoteCommand.

    Returns:
        The id of the job, such as raysearch-valve-20261124-093012.
    """
    topic = re.sub(r"[^A-Za-z0-9]+", "-", metadata["machine"] or metadata["kind"]).strip("-")
    with tempfile.TemporaryDirectory() as folder:
        # Sent even if empty: the run then starts in a separate folder, without a search_spaces/
        # that may be in the folder where the head was started.
        for name, path in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        environment = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_PATIENCE)}
        with _request():
            job = jobs.submit_job(
                entrypoint=shlex.join(["raysearch", *arguments]),
                submission_id=f"{PREFIX}{topic}-{datetime.now():%Y%m%d-%H%M%S}",
                metadata=dict(metadata),
                runtime_env={"working_dir": folder, "env_vars": environment},
            )
    return str(job)


def list_runs(jobs: Client) -> list[RemoteRun]:
    """List the runs that a cluster knows, the latest last."""
    with _request():
        runs = [_run(details) for details in jobs.list_jobs() if _is_raysearch(details)]
    return sorted(runs, key=lambda run: run.started)


def latest_run(jobs: Client, job: str | None = None) -> RemoteRun:
    """Find a run by its id; without an id the latest live run, else the latest.

    Raises:
        UserError: the cluster knows no such run.
    """
    runs = [
        run
        for run in list_runs(jobs)
        if job == run.id or (not job and run.metadata["kind"] == "run")
    ]
    if not runs:
        ids = ", ".join(run.id for run in list_runs(jobs)[-5:])
        problem = f"the cluster knows no run {job}" if job else "the cluster has no run yet"
        raise UserError(f"{problem}; the latest are {ids}" if ids else problem)
    return max(runs, key=lambda run: (run.live, run.started))


def find_running(jobs: Client, metadata: Mapping[str, str]) -> RemoteRun | None:
    """Find the live run that writes into the same folder as a command; None without a match."""
    live = [run for run in list_runs(jobs) if run.live and same_run(run.metadata, metadata)]
    return live[-1] if live else None


def stop(jobs: Client, job: str) -> bool:
    """Stop a run as Ctrl-C does; return True if it was live."""
    with _request():
        return bool(jobs.stop_job(job))


def job_details(jobs: Client, job: str) -> Details:
    """Request the details of a job.

    Raises:
        UnreachableError: the cluster did not answer.
        UserError: the cluster does not know the job any more.
    """
    try:
        with _request():
            return jobs.get_job_info(job)
    except UnreachableError as error:
        if "status code 404" not in str(error):
            raise
        raise UserError(
            f"the cluster does not know {job} any more: its head was started anew; the same "
            "`raysearch run` resumes"
        ) from error


@contextmanager
def _request() -> Iterator[None]:
    """Turn an error of a request into one line."""
    try:
        yield
    except (RuntimeError, requests.RequestException, OSError) as error:
        raise UnreachableError(
            f"a request to the cluster failed: {one_line(error)[:300]}"
        ) from error


def _is_raysearch(details: Details) -> bool:
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
def _without_address_variables() -> Iterator[None]:
    """Remove the variables whose addresses Ray prefers to its argument."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    removed = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(removed)
