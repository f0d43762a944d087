"""The cluster that these tests share."""

from collections.abc import Iterator

import pytest

from tests.cluster.spaces import missing
from tests.cluster.up import RayCluster, ray_up


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Three hosts on this machine and a Ray cluster on them; skips where that cannot be."""
    if reason := missing():
        pytest.skip(f"hosts of a cluster need {reason}")
    with ray_up(tmp_path_factory.mktemp("cluster")) as up:
        yield up
