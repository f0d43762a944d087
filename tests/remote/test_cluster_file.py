from pathlib import Path

import pytest
import yaml

from raysearch.errors import UserError
from raysearch.remote.cluster_file import read_cluster_file

PLAIN = {
    "cluster_name": "factory",
    "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": []},
    "auth": {"ssh_user": "ray"},
}
TOKEN = {"head_start_ray_commands": ["RAY_AUTH_MODE=token ray start --head --dashboard-port 9000"]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(home: Path, **content: object) -> Path:
    path = home / "cluster.yaml"
    path.write_text(yaml.safe_dump({**PLAIN, **content}))
    return path


def test_a_plain_cluster(home: Path) -> None:
    file = read_cluster_file(write(home))
    assert (file.name, file.port, file.wants_token, file.token()) == ("factory", 8265, False, None)


def test_a_cluster_with_a_token_and_a_port(home: Path) -> None:
    file = read_cluster_file(write(home, **TOKEN))
    assert (file.port, file.wants_token) == (9000, True)


@pytest.mark.parametrize(
    "content",
    [
        {"docker": {"run_options": ["-e RAY_AUTH_MODE=token"]}},
        {"worker_start_ray_commands": ["export RAY_AUTH_MODE='token'; ray start"]},
    ],
)
def test_a_token_may_be_asked_for_elsewhere(home: Path, content: dict[str, object]) -> None:
    assert read_cluster_file(write(home, **content)).wants_token


def test_the_token_that_the_cluster_was_given_is_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("mine\n")
    (home / "theirs").write_text("theirs\n")
    assert read_cluster_file(write(home, **TOKEN)).token() == "mine"
    mounts = {"/home/ray/.ray/auth_token": "~/theirs"}
    file = read_cluster_file(write(home, **TOKEN, file_mounts=mounts))
    assert file.token() == "theirs"
    (home / "third").write_text("third")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "third"))
    assert file.token() == "third"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "fourth")
    assert file.token() == "fourth"


def test_a_token_that_is_missing_is_said_with_its_place(home: Path) -> None:
    path = write(home, **TOKEN)
    with pytest.raises(UserError, match=rf"{home}/\.ray/auth_token holds none"):
        read_cluster_file(path).token()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("search: {lr: 1}", "is no cluster file of Ray: it has no `cluster_name`"),
        ("- a", "is no cluster file of Ray"),
        ("cluster_name: a", "it has no `provider`"),
    ],
)
def test_another_file_is_refused_in_one_line(home: Path, text: str, said: str) -> None:
    (home / "other.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_cluster_file(home / "other.yaml")
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_is_named(home: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        read_cluster_file(home / "nowhere.yaml")


def test_the_places_that_every_node_knows(home: Path) -> None:
    assert read_cluster_file(write(home)).environment == {}
    command = "echo 'export A=1 RAYSEARCH_DATA=s3://b/data RAYSEARCH_OUT=\"/mnt/runs\"' > env"
    file = read_cluster_file(write(home, setup_commands=[command]))
    assert file.environment == {"RAYSEARCH_DATA": "s3://b/data"}
    command = "echo 'export RAYSEARCH_DATA=s3://b/data RAYSEARCH_OUT=/mnt/runs' > env"
    file = read_cluster_file(write(home, setup_commands=[command]))
    assert file.environment == {"RAYSEARCH_DATA": "s3://b/data", "RAYSEARCH_OUT": "/mnt/runs"}


def test_a_key_that_stands_twice_is_refused_with_its_line(home: Path) -> None:
    path = write(home)
    path.write_text(path.read_text() + "\nmax_workers: 1\nmax_workers: 2\n")
    with pytest.raises(UserError, match=r"yaml:\d+: max_workers: the key stands in line \d+"):
        read_cluster_file(path)
