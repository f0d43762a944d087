"""The cluster that these tests share."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.spaces import missing
from tests.cluster.up import RayCluster, ray_up

PACKAGES = ("iproute2", "openssh-server", "rsync")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Three hosts on this machine and a Ray cluster on them; skips where that cannot be."""
    if missing() and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    if reason := missing():
        pytest.skip(f"hosts of a cluster need {reason}")
    with ray_up(tmp_path_factory.mktemp("cluster")) as up:
        yield up


def _install() -> None:
    """Installs what a bare container of Debian lacks; without a network it changes nothing."""
    # The run level keeps the sshd of this machine itself from being started.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ("apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES)
    for command in (("apt-get", "update"), install):
        subprocess.run(command, env=environment, capture_output=True, timeout=200)
