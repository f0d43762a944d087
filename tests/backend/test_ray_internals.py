"""The private parts of Ray that are used, against the Ray that is installed."""

import pytest
from ray import _raylet
from ray._private import node as node_module
from ray._private import services, worker
from ray._private.node import Node
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayError

from raysearch.backend import ray_internals
from raysearch.backend.ray_internals import (
    DASHBOARD,
    UNUSED,
    lost_processes_fail_alone,
    on_loopback,
    started_services,
    wait_for_control_service,
    without_unused_services,
)

CLIENT = "GcsClient"


def test_the_methods_that_are_replaced_are_those_of_ray_2_60() -> None:
    """A Ray without one of them starts as it does by itself: slower, so this test tells."""
    assert all(callable(getattr(Node, name)) for name in (*UNUSED, DASHBOARD))
    assert isinstance(Node.webui_url, property)
    assert callable(services.resolve_ip_for_localhost)
    assert callable(getattr(node_module, CLIENT))
    assert callable(_raylet.Config.initialize)
    assert callable(_raylet.AuthenticationTokenLoader.instance)
    assert callable(RayActorManager._actor_task_failed)
    assert hasattr(worker, "_global_node")


def test_a_loopback_address_stays_a_loopback_address() -> None:
    before = services.resolve_ip_for_localhost
    with on_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert services.resolve_ip_for_localhost is before


def test_a_control_service_is_called_once_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(node_module, CLIENT, lambda address, **_: calls.append(address))
    replies = iter([False, False, True])
    with wait_for_control_service(lambda address: next(replies)):
        getattr(node_module, CLIENT)(address="127.0.0.1:1", cluster_id=None)
        assert started_services() == ("127.0.0.1:1",)
    assert started_services() == ()
    assert calls == ["127.0.0.1:1"]
    assert list(replies) == []


def test_a_control_service_that_does_not_answer_is_not_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = getattr(node_module, CLIENT)
    monkeypatch.setattr(ray_internals, "ANSWER", 0.1)
    with (
        pytest.raises(ConnectionError, match=r"no answer at 127\.0\.0\.1:1"),
        wait_for_control_service(lambda address: False),
    ):
        getattr(node_module, CLIENT)(address="127.0.0.1:1", cluster_id=None)
    assert getattr(node_module, CLIENT) is before


def test_methods_are_put_back_whatever_happens() -> None:
    before = {name: getattr(Node, name) for name in (*UNUSED, DASHBOARD)}
    try:
        with without_unused_services(None):
            assert all(getattr(Node, name) is not method for name, method in before.items())
            raise RuntimeError
    except RuntimeError:
        pass
    assert {name: getattr(Node, name) for name in before} == before


def test_a_method_that_ray_no_longer_has_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, UNUSED[0])
    with without_unused_services(None):
        assert not hasattr(Node, UNUSED[0])
    assert not hasattr(Node, UNUSED[0])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OutOfMemoryError("low on memory"), "low on memory"),  # type: ignore[no-untyped-call]
        (ActorDiedError(), "died unexpectedly"),
    ],
)
def test_a_process_that_ray_ends_is_a_dead_actor(
    error: RayError, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, errors = RayActorManager.__new__(RayActorManager), list[Exception]()
    manager._failed_actor_ids = set()
    monkeypatch.setattr(manager, "_cleanup_actor", lambda tracked_actor: None)
    task = TrackedActorTask(TrackedActor(1), on_error=lambda actor, error: errors.append(error))
    with lost_processes_fail_alone():
        # As Ray calls it.
        manager._actor_task_failed(tracked_actor_task=task, exception=error)
        with pytest.raises(RuntimeError, match="unexpected"):
            manager._actor_task_failed(tracked_actor_task=task, exception=ValueError())
    [death] = errors
    assert isinstance(death, RayActorError)
    assert text in str(death)
