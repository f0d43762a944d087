"""Choice of the Ray cluster that a command joins, and the reason, in one line."""

import os
from typing import Any

import typer


def ray_options(address: str | None, dashboard: bool, insecure: bool) -> dict[str, Any]:
    """Return the options of a request about Ray.

    Raises:
        UserError: `auto` finds no cluster.
    """
    return {"address": find_address(address), "dashboard": dashboard, "insecure": insecure}


def find_address(option: str | None) -> str:
    """Return the address of the cluster to join, and tell the reason; empty for none.

    Args:
        option: value of --address or RAY_ADDRESS.

    Raises:
        UserError: `auto` finds no cluster.
    """
    from raysearch.backend.address import find_local_ray, local_ray

    if option == "local":
        os.environ.pop("RAY_ADDRESS", None)
        return ""
    if option and option != "auto":
        is_typed = option != os.environ.get("RAY_ADDRESS")
        return option if is_typed else _announced(option, "that RAY_ADDRESS names")
    local = find_local_ray()
    if not local.address and option == "auto":
        return local_ray()
    if local.doubt:
        typer.echo(
            f"no Ray cluster is joined: {local.file} {local.doubt}; --address HOST:PORT joins one",
            err=True,
        )
    return _announced(local.address, f"that `ray start` noted in {local.file}")


def _announced(address: str, reason: str) -> str:
    if address:
        typer.echo(
            f"joining the Ray cluster at {address} {reason}; --address local keeps to this machine",
            err=True,
        )
    return address
