"""The cluster files say what a cluster must be, in terms that Ray accepts."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.remote.cluster_file import read_cluster_file
from tests.cluster.hosts import REPOSITORY

CLOUDS = ("cluster.yaml", "clusters/gcp.yaml")
FILES = (*CLOUDS, "clusters/local.yaml")
LOCK = REPOSITORY / "requirements.lock"


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


def installs(content: dict[str, Any]) -> list[str]:
    """The commands that install something on a node, of all lists of commands."""
    commands = [c for key, part in content.items() if key.endswith("_commands") for c in part]
    return [command for command in commands if re.search(r"\b(pip|apt|conda|curl|wget)\b", command)]


@pytest.mark.parametrize("name", FILES)
def test_every_node_installs_this_source_and_nothing_without_a_hash(name: str) -> None:
    content = read(name)
    mounts = content["file_mounts"]
    here = {there: path for there, path in mounts.items() if "/source/" in there}
    assert {"raysearch", "search_spaces", "pyproject.toml", "requirements.lock"} <= set(
        here.values()
    )
    for path in here.values():
        assert (REPOSITORY / path).exists()
    libraries, source = (command.split() for command in installs(content))
    assert {"--require-hashes", "--no-deps", "~/.raysearch/source/requirements.lock"} <= set(
        libraries
    )
    assert {"--no-index", "--no-build-isolation", "~/.raysearch/source"} <= set(source)


@pytest.mark.parametrize("name", FILES)
def test_pip_refuses_a_library_with_another_hash(name: str, tmp_path: Path) -> None:
    command = installs(read(name))[0].split()
    pinned = re.search(r"^tabulate==(\S+) .*(\n +--hash=.*)+\n", LOCK.read_text(), re.MULTILINE)
    assert pinned is not None
    (tmp_path / "requirements.lock").write_text(pinned[0])
    wheel = tmp_path / f"tabulate-{pinned[1]}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tabulate/__init__.py", "raise SystemExit('a stranger's code')")
    options = [word for word in command[command.index("install") :] if "/" not in word]
    pip = [sys.executable, "-m", "pip", "--isolated", *options, str(tmp_path / "requirements.lock")]
    local = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "there")]
    ended = subprocess.run([*pip, *local], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    assert not (tmp_path / "there").exists()


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


def policies() -> list[dict[str, Any]]:
    """The policies of the page, in order: trust, bucket, workers."""
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_a_right_is_on_all_resources_only_where_aws_knows_no_other() -> None:
    statements = [statement for policy in policies() for statement in policy["Statement"]]
    assert len(policies()) == 3
    for statement in statements:
        actions = as_list(statement["Action"])
        assert all(re.fullmatch(r"\w+:\w+", action) for action in actions)
        if "*" in as_list(statement.get("Resource", "")):
            assert all(action.startswith("ec2:Describe") for action in actions)


def test_the_bucket_is_one_and_machines_are_changed_by_their_tag() -> None:
    _, bucket, workers = policies()
    resources = [r for s in bucket["Statement"] for r in as_list(s["Resource"])]
    assert set(resources) == {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"}
    for statement in workers["Statement"]:
        resources = as_list(statement["Resource"])
        if any(":instance/" in resource for resource in resources):
            [(key, value)] = statement["Condition"]["StringEquals"].items()
            assert (key.rpartition("/")[2], value) in (
                ("project", "raysearch"),
                ("ec2:CreateAction", "RunInstances"),
            )


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_a_node_on_aws_is_closed_encrypted_and_tagged(kind: str) -> None:
    node = read("cluster.yaml")["available_node_types"][kind]["node_config"]
    assert node["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert [disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"]] == [True]
    # Ray opens ssh to the world in a group that it makes; it makes none beside a given one.
    assert len(node["SecurityGroupIds"]) == 1
    tagged = {tags["ResourceType"]: tags["Tags"] for tags in node["TagSpecifications"]}
    project = [{"Key": "project", "Value": "raysearch"}]
    assert tagged == {"instance": project, "volume": project}


def test_the_keys_of_a_node_are_those_of_aws() -> None:
    model = pytest.importorskip("botocore.session").get_session().get_service_model("ec2")
    known = model.operation_model("RunInstances").input_shape.members
    for kind in ("head", "gpu"):
        node = read("cluster.yaml")["available_node_types"][kind]["node_config"]
        assert set(node) <= set(known)
        assert set(node["MetadataOptions"]) <= set(known["MetadataOptions"].members)
        for disk in node["BlockDeviceMappings"]:
            assert set(disk["Ebs"]) <= set(
                known["BlockDeviceMappings"].member.members["Ebs"].members
            )


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_a_node_on_google_cloud_is_labelled_and_has_the_rights_it_needs(kind: str) -> None:
    node = read("clusters/gcp.yaml")["available_node_types"][kind]["node_config"]
    assert node["labels"] == {"project": "raysearch"}
    # Ray's own account, that of the head, may do all with the machines of the project.
    accounts = [account["email"].partition("@")[0] for account in node.get("serviceAccounts", [])]
    assert accounts == ([] if kind == "head" else ["raysearch-worker"])
    scopes = [scope for account in node.get("serviceAccounts", []) for scope in account["scopes"]]
    assert all(scope.endswith("/devstorage.read_write") for scope in scopes)
