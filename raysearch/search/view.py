"""What is told of a search while it runs."""

from collections.abc import Mapping
from typing import Any, Protocol

from raysearch.search.records import Proposal, Record
from raysearch.search.resources import Cluster, Share


class View(Protocol):
    """Somebody who watches a search; `study` is the name of one."""

    def cluster(self, cluster: Cluster, share: Share) -> None:
        """The search begins."""

    def started(self, study: str, proposal: Proposal) -> None:
        """A trial was given out, or goes on after its process was lost."""

    def reading(self, study: str, number: int, host: str, clips: int) -> None:
        """A trial's machine decodes recordings, the first time it needs them."""

    def epoch(self, study: str, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""

    def lost(self, study: str, number: int, host: str, reason: str) -> None:
        """A trial's process or machine was lost; the trial goes on from its checkpoint."""

    def finished(self, study: str, record: Record) -> None:
        """A trial ended."""

    def warn(self, text: str) -> None:
        """Something beside the search went wrong, which goes on."""

    def tick(self) -> None:
        """Time has passed."""
