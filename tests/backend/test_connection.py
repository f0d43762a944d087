"""Ray, joined or started by a thread of its own."""

import threading
from concurrent.futures import Future

import pytest

from raysearch.backend import cluster
from raysearch.backend.connection import connect_to_ray
from raysearch.backend.resources import Cluster, Node, Resources


def test_the_thread_that_started_ray_lives_until_ray_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel kills Ray's processes when that thread ends; Ray would wait for them for 15 s."""
    threads, alive = list[threading.Thread](), list[bool]()

    def connect(address: str, **options: object) -> tuple[Cluster, Future[str]]:
        threads.append(threading.current_thread())
        return Cluster("", "", (Node(1),)), Future()

    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.setattr(cluster, "disconnect", lambda: alive.append(threads[0].is_alive()))
    with connect_to_ray("", Resources()) as ray:
        ray.start()
    assert alive == [True]
    assert not threads[0].is_alive()


def test_a_cluster_that_cannot_be_joined_is_left_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = list[None]()

    def connect(address: str, **options: object) -> tuple[Cluster, Future[str]]:
        raise RuntimeError(address)

    monkeypatch.setattr(cluster, "connect", connect)
    monkeypatch.setattr(cluster, "disconnect", lambda: left.append(None))
    with (
        connect_to_ray("nowhere", Resources()) as ray,
        pytest.raises(RuntimeError, match="nowhere"),
    ):
        ray.check()
    assert left == [None]
