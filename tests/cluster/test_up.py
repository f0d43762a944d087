"""What `ray up` with the project's file for machines brings up, and whom it lets in."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from tests.cluster.up import RayCluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dashboard(cluster: RayCluster) -> Iterator[str]:
    """Address of the dashboard on this machine, through an ssh tunnel."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forward = ("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:8265")
    tunnel = subprocess.Popen(cluster.hosts.ssh(cluster.head, *forward))
    try:
        end = time.monotonic() + 30
        while not _answers(port):
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        tunnel.kill()
        tunnel.wait()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_every_machine_is_in_the_cluster(cluster: RayCluster) -> None:
    assert cluster.alive() == 3
    for host in cluster.hosts.hosts:
        assert host.run("hostname").stdout.strip() == host.name
        assert any("raylet" in line for line in host.processes().values())


def test_the_dashboard_listens_on_loopback_only(cluster: RayCluster) -> None:
    ports = [address for address in cluster.head.listening() if address.endswith(":8265")]
    assert ports == ["127.0.0.1:8265"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guessed"}])
def test_who_has_no_token_runs_nothing(
    cluster: RayCluster, dashboard: str, headers: dict[str, str]
) -> None:
    jobs = f"{dashboard}/api/jobs/"
    before = requests.get(jobs, headers=bearer(cluster), timeout=30).json()
    sent = requests.post(jobs, json={"entrypoint": "true"}, headers=headers, timeout=30)
    assert sent.status_code in (401, 403)
    assert requests.get(jobs, headers=headers, timeout=30).status_code in (401, 403)
    after = requests.get(jobs, headers=bearer(cluster), timeout=30).json()
    assert [job["submission_id"] for job in after] == [job["submission_id"] for job in before]


def bearer(cluster: RayCluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.token}"}


def test_who_has_the_token_runs_a_job(cluster: RayCluster, dashboard: str) -> None:
    # A job finds what `raysearch run` on the head needs to know.
    shown = "echo $RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED $RAYSEARCH_OUT; which raysearch"
    job, headers = {"entrypoint": f"sh -c '{shown}'"}, bearer(cluster)
    sent = requests.post(f"{dashboard}/api/jobs/", json=job, headers=headers, timeout=30)
    assert sent.status_code == 200, sent.text
    address = f"{dashboard}/api/jobs/{sent.json()['submission_id']}"
    end = time.monotonic() + 300
    state = "PENDING"
    while state in ("PENDING", "RUNNING"):
        assert time.monotonic() < end
        time.sleep(0.2)
        state = requests.get(address, headers=headers, timeout=30).json()["status"]
    assert state == "SUCCEEDED"
    # Its lines may come a moment after its end, and Ray's own among them.
    expected = rf"^token 0 {cluster.shared}/runs$(?s:.*)^/\S+/raysearch$"
    logs = ""
    while not re.search(expected, logs, re.MULTILINE):
        assert time.monotonic() < end, logs
        time.sleep(0.2)
        logs = requests.get(f"{address}/logs", headers=headers, timeout=30).json()["logs"]


def test_a_machine_without_the_token_cannot_join(cluster: RayCluster) -> None:
    refused = cluster.hosts[1].run(
        f"env -u RAY_AUTH_MODE HOME=/tmp ray status --address {cluster.head.address}:6379",
        check=False,
    )
    assert refused.returncode != 0
    assert "auth" in refused.stderr.lower()


def test_the_token_is_for_its_owner_alone(cluster: RayCluster) -> None:
    for host in cluster.hosts.hosts:
        assert host.run("cat ~/.ray/auth_token").stdout == cluster.token
        assert host.run("stat --format %a ~/.ray/auth_token").stdout == "600\n"
