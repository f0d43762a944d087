"""Ray on this machine alone, without the parts that a search does not need.

A log monitor copies what processes print, and an autoscaler adds machines: no search on one machine
looks at either. The dashboard takes longer to start than all the rest, and nothing waits for it, so
it starts beside the rest.
"""

import logging
from concurrent.futures import Future

import ray

from raysearch.backend.environment import START, environment
from raysearch.backend.ray_internals import without_unused


def start_ray(*, dashboard: bool) -> "Future[str]":
    """Start Ray on this machine.

    Args:
        dashboard: whether it has one.

    Returns:
        The address of its dashboard as HOST:PORT, once that has started; empty if there is none.
    """
    address = Future[str]()
    with environment(START), without_unused(address if dashboard else None):
        # Without a network Ray would probe for an address to call its own.
        context = ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    if not address.running() and not address.done():
        address.set_result(context.dashboard_url or "")
    return address
