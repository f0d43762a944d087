"""The log of a run on a cluster, followed from another machine until the run ends."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing, nullcontext

import aiohttp
import requests

from raysearch.remote.jobs import Client, Details, job_details
from raysearch.remote.tunnel import UnreachableError

STOPPED = 130
"""Exit code of a run that was stopped."""
PAUSES = (1.0, 30.0)
"""Seconds between two attempts to connect again, at first and at most."""

Connect = Callable[[], AbstractContextManager[Client]]
_BROKEN = (UnreachableError, requests.RequestException, aiohttp.ClientError, OSError)
_NOISE = re.compile(r"Running entrypoint for job |.* -- Runtime env is setting up\.$")


class Log:
    """A growing log that is read repeatedly, in pieces of any size, and shows each line once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        """Start with an empty log; `show` takes a line without its newline."""
        self.show = show
        self.seen = 0
        self._position = 0
        self._line = ""

    def rewind(self) -> None:
        """Start again at the log's beginning with the next `read`."""
        self._position = 0

    def read(self, piece: str) -> None:
        """Read the next piece of the log, of which a part may have been seen."""
        new = piece[max(0, self.seen - self._position) :]
        self._position += len(piece)
        self.seen = max(self.seen, self._position)
        *lines, self._line = (self._line + new).split("\n")
        for line in lines:
            self.show(line)

    def skip(self, text: str, last: int) -> None:
        """Skip the text of a log, except its last whole lines."""
        whole = text.split("\n")[:-1]
        self.seen = sum(len(line) + 1 for line in whole[: max(0, len(whole) - last)])

    def end(self) -> None:
        """Show a last line without newline, at the end of the log."""
        if self._line:
            self.show(self._line)
            self._line = ""


def follow(
    jobs: Client,
    connect: Connect,
    job: str,
    show: Callable[[str], None],
    *,
    last: int | None = None,
    shown: str = "",
) -> int:
    """Show the log of a run as it grows, each line once, until the run has ended.

    A broken connection is opened again, without a limit of time.

    Args:
        jobs: client of the cluster.
        connect: opens another connection to the cluster.
        job: id of the run.
        show: takes a line.
        last: number of earlier lines to show; None for all.
        shown: beginning of the log, which is not shown again.

    Returns:
        The exit code of the run; 130 if it was stopped.

    Raises:
        UserError: the cluster does not know the run, or is not up any more.
    """
    log = Log(lambda line: None if _NOISE.match(line) else show(line))
    log.skip(shown, 0)
    connection: AbstractContextManager[Client] = nullcontext(jobs)
    pause, is_reported = PAUSES[0], False
    while True:
        seen = log.seen
        try:
            with connection as client:
                if last is not None and (text := read_log(client, job)):
                    log.skip(text, last)
                last = None
                return _follow_once(client, job, log)
        except _BROKEN as error:
            broken = error
        if log.seen > seen:
            pause, is_reported = PAUSES[0], False
        if not is_reported:
            show(f"[the connection to the cluster broke; the run continues; retrying: {broken}]")
            is_reported = True
        time.sleep(pause)
        connection, pause = connect(), min(pause * 1.5, PAUSES[1])


def _follow_once(jobs: Client, job: str, log: Log) -> int:
    job_details(jobs, job)
    while True:
        log.rewind()
        asyncio.run(_tail(jobs, job, log))
        details = job_details(jobs, job)
        if details.status.is_terminal():
            log.rewind()
            log.read(read_log(jobs, job))
            log.end()
            return _code(details, log)
        # The head's agent was restarted and ended the log before the run ended.
        time.sleep(1)


async def _tail(jobs: Client, job: str, log: Log) -> None:
    try:
        async with aclosing(jobs.tail_job_logs(job)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                log.read(chunk)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error


def read_log(jobs: Client, job: str) -> str:
    """Return the output of a run so far; nothing if the machine that kept it is lost."""
    try:
        return str(jobs.get_job_logs(job))
    except RuntimeError:
        return ""


def _code(details: Details, log: Log) -> int:
    if details.status.value == "SUCCEEDED":
        return 0
    if details.status.value == "STOPPED":
        return STOPPED
    code = details.driver_exit_code
    if code is None or code == 127:
        reason = (details.message or "no reason given").strip().splitlines()[0]
        hint = "; `raysearch` is not installed on the head" if code == 127 else ""
        log.show(f"[the run failed: {reason}{hint}]")
    if code is None:
        return 1
    return code if code > 0 else 128 - code
