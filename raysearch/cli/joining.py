"""Options of a command about the Ray that it joins or starts."""

import os
from typing import Any

import typer


def ray_options(address: str | None, dashboard: bool, insecure: bool) -> dict[str, Any]:
    """Return the options of a request about Ray."""
    return {"address": find_address(address), "dashboard": dashboard, "insecure": insecure}


def find_address(option: str | None) -> str:
    """Return the address of the cluster to join; empty for none."""
    from raysearch.backend.address import find_local_ray

    if option == "local":
        os.environ.pop("RAY_ADDRESS", None)
        return ""
    return option or find_local_ray()
