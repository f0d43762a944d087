"""Attempts that fail on one machine of a real cluster, which has others."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.backend.connection import connect_to_ray
from raysearch.backend.failures import AttemptError, selector
from raysearch.backend.resources import Resources, Share
from raysearch.backend.search_callback import SearchCallback
from raysearch.backend.tune import Extras, search
from raysearch.search import retries
from raysearch.search.trial_queue import TrialQueue
from raysearch.study.context import StudyContext
from raysearch.study.records import Proposal
from tests.files import put_checkpoint
from tests.records import complete, row
from tests.search.queues import make_queue, space


def test_machines_to_avoid_become_a_selector() -> None:
    assert selector({"number": 1}) == {}
    assert selector({"avoid": ["ab", "cd"]}) == {"ray.io/node-id": "!in(ab,cd)"}


def test_an_error_says_reason_host_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.backend.failures.this_node", lambda: "ab")
    error = AttemptError.here(OSError(28, "No space\nleft"))
    assert json.loads(str(error)) == {
        "reason": "OSError: [Errno 28] No space left",
        "host": socket.gethostname(),
        "node": "ab",
    }


class Restarts(SearchCallback):
    """Reasons of the restarts of a search, in their order."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def two_machines() -> Iterator[tuple[str, str]]:
    """The address of a cluster of two machines, and the ID of one of them."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    bad = cluster.add_node(num_cpus=1)
    yield cluster.address, bad.node_id
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_a_machine_without_the_mount_gets_no_trial_after_three(
    tmp_path: Path, two_machines: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.1)
    address, bad = two_machines
    queue: TrialQueue = make_queue(tmp_path / "valve", space(trials=8))
    attempts = tmp_path / "attempts"
    attempts.mkdir()

    def run_trial(
        context: StudyContext,
        proposal: Proposal,
        share: Share,
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        node = ray.get_runtime_context().get_node_id()
        name = f"{proposal.number}-{node}"
        (attempts / f"{name}-{len(list(attempts.iterdir()))}").touch()
        if node == bad:
            raise OSError(2, "the mount is away")
        record = complete(proposal, row("gmm", 1, 0.5))
        put_checkpoint(context.study.encoder(record.encoder) / "best.safetensors")
        context.study.add(record)

    restarts = Restarts()
    with connect_to_ray(address, Resources(cpus=1), dashboard=False) as connection:
        assert search([queue], Resources(cpus=1), [restarts], connection, extras=Extras(run_trial))
    assert [record.state for record in queue.study.records()] == ["COMPLETE"] * 8
    on_bad = [path.name for path in attempts.iterdir() if bad in path.name]
    assert 1 <= len(on_bad) <= retries.HOST_FAILURES
    # No trial was tried there twice.
    assert len({name.partition("-")[0] for name in on_bad}) == len(on_bad)
    assert all("the mount is away" in reason for reason in restarts.reasons)
