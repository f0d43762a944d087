"""Whether every machine of a cluster reaches what a search needs, before trials fail for it."""

import socket

from upath import UPath

from raysearch.backend.cluster import on_each_node
from raysearch.errors import UserError, one_line
from raysearch.study.context import StudyContext


def check_access(context: StudyContext) -> None:
    """Looks from every machine of the joined cluster.

    Raises:
        UserError: one of them does not reach the study, the recordings or the weights.
    """
    for host, problem in on_each_node(hosts_without_access, context).items():
        # One that is silent may just have been lost, and keeps nobody from going on.
        if problem:
            raise UserError(
                f"{host} does not reach {problem}, which is on {socket.gethostname()}: all "
                "machines need it in one place, such as a shared folder or s3://..."
            )


def hosts_without_access(context: StudyContext) -> str:
    """What this machine does not reach; empty if there is nothing."""
    needed = {"--out": context.folder / "study.json", "--data": context.source.root}
    if isinstance(context.options.pretrained, str):
        needed["pretrained:"] = UPath(context.options.pretrained)
    for name, path in needed.items():
        try:
            there = path.exists()
        except Exception as error:  # Each object store has exceptions of its own.
            return f"{name} {path} ({one_line(error)[:200]})"
        if not there:
            return f"{name} {path}"
    return ""
