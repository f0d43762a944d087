"""A run's log and its end, followed from another machine for as long as it takes."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing, nullcontext

import aiohttp
import requests

from raysearch.remote.jobs import Client, Details, details_of
from raysearch.remote.log import Log
from raysearch.remote.tunnel import UnreachableError

STOPPED = 130
"""Exit code of a run that was stopped."""
PAUSES = (1.0, 30.0)
"""Seconds between two attempts to connect again, at first and at most."""

Connect = Callable[[], AbstractContextManager[Client]]
_BROKEN = (UnreachableError, requests.RequestException, aiohttp.ClientError, OSError)
_NOISE = re.compile(r"Running entrypoint for job |.* -- Runtime env is setting up\.$")


def follow(
    jobs: Client,
    again: Connect,
    job: str,
    show: Callable[[str], None],
    *,
    last: int | None = None,
    known: str = "",
) -> int:
    """Shows the log of a run as it grows, each line once, until the run has ended.

    When the connection breaks, it is opened again, for as long as it takes.

    Args:
        jobs: of the cluster.
        again: connects to the cluster once more.
        job: its id.
        show: takes a line.
        last: of the lines that are there already, how many to show; None for all.
        known: beginning of the log, which is not shown.

    Returns:
        The exit code of the run; 130 if it was stopped.

    Raises:
        UserError: the cluster does not know the run, or is not up any more.
    """
    log = Log(lambda line: None if _NOISE.match(line) else show(line))
    log.skip(known, 0)
    way: AbstractContextManager[Client] = nullcontext(jobs)
    pause, told = PAUSES[0], False
    while True:
        seen = log.seen
        try:
            with way as fresh:
                if last is not None and (text := log_of(fresh, job)):
                    log.skip(text, last)
                last = None
                return _follow_once(fresh, job, log)
        except _BROKEN as error:
            broken = error
        if log.seen > seen:
            pause, told = PAUSES[0], False
        if not told:
            show(f"[the connection to the cluster broke; the run goes on; trying again: {broken}]")
            told = True
        time.sleep(pause)
        way, pause = again(), min(pause * 1.5, PAUSES[1])


def _follow_once(jobs: Client, job: str, log: Log) -> int:
    details_of(jobs, job)
    while True:
        log.from_its_beginning()
        asyncio.run(_tail(jobs, job, log))
        details = details_of(jobs, job)
        if details.status.is_terminal():
            log.from_its_beginning()
            log.read(log_of(jobs, job))
            log.end()
            return _code(details, log)
        # The head's agent ended the log before the run ended: it was started anew.
        time.sleep(1)


async def _tail(jobs: Client, job: str, log: Log) -> None:
    try:
        async with aclosing(jobs.tail_job_logs(job)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                log.read(chunk)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error


def log_of(jobs: Client, job: str) -> str:
    """Return what a run has printed so far; nothing if the machine that kept it is gone."""
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
