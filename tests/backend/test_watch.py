"""Services of Ray that are gone, and machines that do not come."""

import socket
from threading import Event

import pytest

from raysearch.backend import watch
from raysearch.backend.resources import Node, Share
from raysearch.backend.watch import NOTICE, Arrival, watch_services


@pytest.fixture
def server() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_service_that_is_gone_is_told_once(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.01)
    lost, is_lost = list[str](), Event()

    def on_loss(address: str) -> None:
        lost.append(address)
        is_lost.set()

    address = f"127.0.0.1:{server.getsockname()[1]}"
    with watch_services(lambda: [address], 0.05, on_loss):
        assert not is_lost.wait(0.3)
        server.close()
        assert is_lost.wait(30)
    assert lost == [address]


def test_a_service_that_goes_with_the_search_is_not_missed(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.01)
    lost = list[str]()
    address = f"127.0.0.1:{server.getsockname()[1]}"
    with watch_services(lambda: [address], 0.05, lost.append):
        pass
    server.close()
    assert not Event().wait(0.3)
    assert lost == []


class Cloud:
    """A clock, and the machines that are up."""

    def __init__(self) -> None:
        self.now, self.up = 0.0, list[str]()

    def arrival(self) -> Arrival:
        nodes = (Node(2), *[Node(8, 1)] * 8)  # a head without a GPU
        share = Share(workers=1, cpus=8, gpus=1.0, concurrent=8)
        return Arrival(nodes, share, lambda _: self.up, lambda: self.now)


def test_machines_that_do_not_come_are_told_ever_more_rarely() -> None:
    cloud = Cloud()
    arrival, times = cloud.arrival(), list[float]()
    while cloud.now < 3600:
        cloud.now += 1
        if line := arrival.notice():
            times.append(cloud.now)
            assert line.startswith(f"0 of 8 machines up since {cloud.now / 60:.0f} min; ")
            assert "quota" in line
            assert "spot" in line
    assert times == [NOTICE, 2 * NOTICE, 4 * NOTICE, 8 * NOTICE]


def test_a_trial_that_runs_ends_the_wait() -> None:
    cloud = Cloud()
    arrival = cloud.arrival()
    cloud.now = NOTICE - 1
    arrival.reset()
    cloud.now += NOTICE - 1
    assert arrival.notice() is None


def test_machines_that_are_up_and_busy_are_not_missed() -> None:
    cloud = Cloud()
    arrival = cloud.arrival()
    cloud.now, cloud.up = NOTICE, [f"node{n}" for n in range(8)]
    line = arrival.notice()
    assert line is not None
    assert line.startswith("no trial could start for 5 min, though all 8 machines are up")
