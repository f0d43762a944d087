import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from raysearch.errors import UserError
from raysearch.remote.cluster_file import ClusterFile, read_cluster_file
from raysearch.remote.tunnel import UnreachableError, copy_from_head, tunnel
from tests.command import descendants
from tests.remote.head import brought_up, write_cluster_file
from tests.remote.head import ssh as ssh  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ssh")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(home))
        yield home


@pytest.fixture(scope="module")
def is_up(home: Path) -> Iterator[ClusterFile]:
    """A cluster that is up as far as ssh goes; no dashboard listens."""
    path = write_cluster_file(home / "up", port=9)
    with brought_up(path):
        yield read_cluster_file(path)


def failure(cluster: ClusterFile, patience: float = 30) -> UserError:
    before = descendants(os.getpid())
    with pytest.raises(UserError) as error, tunnel(cluster, patience):
        raise AssertionError("there was nothing to connect to")
    assert "\n" not in str(error.value)
    assert descendants(os.getpid()) == before
    return error.value


def test_a_cluster_that_is_not_up(home: Path) -> None:
    path = write_cluster_file(home / "down")
    error = failure(read_cluster_file(path))
    assert "is not up" in str(error)
    assert f"`ray up {path}`" in str(error)
    assert not isinstance(error, UnreachableError)


def test_a_key_that_is_refused(home: Path, is_up: ClusterFile) -> None:
    content = yaml.safe_load(is_up.path.read_text())
    content["auth"]["ssh_private_key"] = str(is_up.path.parent / "host_key")
    # A connection that another command left open would let us in.
    content["auth"]["ssh_user"] = "nobody"
    path = home / "refused.yaml"
    path.write_text(yaml.safe_dump(content))
    error = failure(read_cluster_file(path))
    assert isinstance(error, UnreachableError)
    assert "Permission denied" in str(error)


def test_a_dashboard_that_does_not_answer(is_up: ClusterFile) -> None:
    error = failure(is_up, patience=3)
    assert isinstance(error, UnreachableError)
    assert "does not answer (port 9 of its head)" in str(error)


def test_a_file_that_ray_refuses(is_up: ClusterFile) -> None:
    content = yaml.safe_load(is_up.path.read_text())
    path = is_up.path.with_name("odd.yaml")
    path.write_text(yaml.safe_dump({**content, "provider": {"type": "abacus"}}))
    assert "Ray cannot use it: Unsupported node provider" in str(failure(read_cluster_file(path)))


def test_a_folder_of_the_head_is_copied(is_up: ClusterFile, tmp_path: Path) -> None:
    (tmp_path / "runs" / "valve").mkdir(parents=True)
    (tmp_path / "runs" / "valve" / "trials.csv").write_text("trial\n")
    (tmp_path / "here").mkdir()
    copy_from_head(is_up, is_up.path, str(tmp_path / "runs"), tmp_path / "here")
    assert (tmp_path / "here" / "valve" / "trials.csv").read_text() == "trial\n"
    with pytest.raises(UserError, match="has no folder /nowhere/runs"):
        copy_from_head(is_up, is_up.path, "/nowhere/runs", tmp_path / "here")


def test_a_tunnel_ends_with_its_block(home: Path) -> None:
    before = descendants(os.getpid())
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        path = write_cluster_file(home / "served", port=server.server_port)
        with brought_up(path), tunnel(read_cluster_file(path)) as address:
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(address, timeout=5)
            answer.value.close()
            assert descendants(os.getpid()) != before
        server.shutdown()
    assert descendants(os.getpid()) == before
