"""The cluster files say what a cluster must be, in terms that Ray accepts."""

import re
from typing import Any

import pytest
import yaml

from raysearch.remote.cluster_file import read_cluster_file
from tests.cluster.hosts import REPOSITORY

CLOUDS = ("cluster.yaml", "clusters/gcp.yaml")
FILES = (*CLOUDS, "clusters/local.yaml")


def read(name: str) -> dict[str, Any]:
    content = yaml.safe_load((REPOSITORY / name).read_text())
    assert isinstance(content, dict)
    return content


def start(content: dict[str, Any], kind: str) -> str:
    """The command that starts Ray on a kind of node."""
    commands = [c for c in content[f"{kind}_start_ray_commands"] if "ray start" in c]
    assert len(commands) == 1
    return str(commands[0])


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(read(name))
    validate_config(prepared)
    # The keys of the file and what Ray adds, thus no key that it does not know.
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_node_asks_for_the_token_and_sends_no_statistics(name: str, kind: str) -> None:
    content = read(name)
    before, _, _ = start(content, kind).partition("ray start")
    assert "RAY_AUTH_MODE=token" in before.split()
    assert "RAY_USAGE_STATS_ENABLED=0" in before.split()
    assert any("chmod 600 ~/.ray/auth_token" in c for c in content[f"{kind}_start_ray_commands"])


@pytest.mark.parametrize("name", FILES)
def test_the_token_is_mounted_and_found_by_the_client(name: str) -> None:
    assert read(name)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert read_cluster_file(REPOSITORY / name).wants_token


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_open_to_the_world(name: str) -> None:
    assert "--dashboard-host=127.0.0.1" in start(read(name), "head").split()
    assert "dashboard" not in start(read(name), "worker")
    assert "0.0.0.0" not in (REPOSITORY / name).read_text()


@pytest.mark.parametrize("name", FILES)
def test_every_node_installs_this_source_with_the_pinned_versions(name: str) -> None:
    content = read(name)
    mounts = content["file_mounts"]
    here = {there: path for there, path in mounts.items() if "/source/" in there}
    assert {"raysearch", "search_spaces", "pyproject.toml", "constraints.txt"} <= set(here.values())
    for path in here.values():
        assert (REPOSITORY / path).exists()
    installs = [c for c in content["setup_commands"] if ".raysearch/source" in c and "pip" in c]
    assert len(installs) == 1
    assert "-c ~/.raysearch/source/constraints.txt" in installs[0]


@pytest.mark.parametrize("name", FILES)
def test_every_node_knows_the_shared_storage(name: str) -> None:
    environment = " ".join(read(name)["setup_commands"])
    data, out = (
        re.search(rf"{key}=(\S+?)/(data|runs)\b", environment)
        for key in ("RAYSEARCH_DATA", "RAYSEARCH_OUT")
    )
    assert data is not None
    assert out is not None
    assert data[1] == out[1]
    assert re.match(r"s3://|gs://|/mnt/", out[1])


@pytest.mark.parametrize("name", CLOUDS)
def test_images_hold_the_pinned_ray(name: str) -> None:
    pinned = re.search(r"^ray==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    images = read(name)["docker"]
    assert images["head_image"] == f"rayproject/ray:{pinned[1]}-py311-cpu"
    assert images["worker_image"] == f"rayproject/ray:{pinned[1]}-py311-gpu"


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_come_and_go_and_the_head_stays(name: str) -> None:
    content = read(name)
    head, gpu = (content["available_node_types"][kind] for kind in ("head", "gpu"))
    assert content["head_node_type"] == "head"
    assert gpu["min_workers"] == 0
    assert 0 < gpu["max_workers"] <= content["max_workers"]
    assert 0 < content["idle_timeout_minutes"] <= 30
    assert "spot" in str(gpu["node_config"]).lower()
    assert not re.search("spot|preemptible", str(head["node_config"]).lower())
    assert head["resources"] == {"CPU": 0}


def test_a_cluster_of_machines_keeps_all_of_them() -> None:
    from ray.autoscaler._private.util import prepare_config

    content = read("clusters/local.yaml")
    prepared = prepare_config(content)
    (kind,) = prepared["available_node_types"].values()
    workers = len(content["provider"]["worker_ips"])
    assert kind["min_workers"] == kind["max_workers"] == prepared["max_workers"] == workers
    # Only the older autoscaler starts that many beside the head.
    assert "RAY_enable_autoscaler_v2=0" in start(content, "head").split()
    for node in ("head", "worker"):
        assert "--node-ip-address=$(hostname -I | cut -d' ' -f1)" in start(content, node)
