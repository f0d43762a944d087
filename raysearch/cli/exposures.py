"""Ways in which strangers reach a Ray cluster or its token, which `doctor` looks for."""

import shlex
import stat
from urllib.parse import urlsplit

import requests

from raysearch.backend.access import token_file
from raysearch.backend.resources import Cluster

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def exposures(joined: Cluster) -> list[str]:
    """List the ways in which strangers reach a cluster: Ray runs any code that it receives.

    A Ray that raysearch starts on this machine listens on the loopback and has a token of its own.
    """
    lines = _open_ports(joined) if joined.address else []
    token = token_file()
    if token.is_file() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        lines.append(f"{token} can be read by others: chmod 600 {shlex.quote(str(token))}")
    return lines


def _open_ports(joined: Cluster) -> list[str]:
    lines = []
    host = urlsplit(joined.dashboard).hostname
    if host is not None and host not in LOOPBACK:
        lines.append(
            f"the dashboard listens on {host}: start Ray with --dashboard-host=127.0.0.1 and look "
            "at it with `ray dashboard cluster.yaml`"
        )
    if _needs_no_token(joined.dashboard):
        lines.append(
            "the cluster asks for no token: set RAY_AUTH_MODE=token for `ray start` and raysearch"
        )
    return lines


def _needs_no_token(dashboard: str) -> bool:
    """Return True if a cluster's dashboard takes commands without a token."""
    if not dashboard:
        return False
    try:
        return requests.get(f"{dashboard}/api/jobs/", timeout=10).ok
    except requests.RequestException:
        return False  # This machine does not reach the dashboard.
