"""Access to Ray: on this machine for its own processes alone, to a cluster with its token."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from raysearch.backend.access import MODE, TOKEN, TOKEN_PATH, random_token, token_of
from raysearch.backend.cluster import cluster
from raysearch.backend.ray_internals import is_token_refused, on_loopback
from raysearch.errors import UserError
from tests.command import descendants
from tests.doors import command_line, listening, secret_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token."""
    for name in (MODE, TOKEN, TOKEN_PATH, "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_each_ray_has_another_token_whatever_the_environment_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "disabled")
    monkeypatch.setenv(TOKEN, "known")
    monkeypatch.setenv(TOKEN_PATH, "/somewhere")
    before, tokens = dict(os.environ), set()
    for _ in range(2):
        with random_token():
            assert os.environ[MODE] == "token"
            assert TOKEN_PATH not in os.environ
            tokens.add(os.environ[TOKEN])
        assert dict(os.environ) == before
    assert len(tokens - {"known"}) == 2
    assert min(map(len, tokens)) >= 32
    with random_token(insecure=True):
        assert os.environ[MODE] == "disabled"
        assert TOKEN not in os.environ


@pytest.mark.slow
def test_ray_on_this_machine_is_closed_to_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "disabled")
    # Processes of a cluster that another test has left take a while to end.
    earlier = set(descendants(os.getpid()))
    with cluster("") as joined:
        token = os.environ[TOKEN]
        processes = [os.getpid(), *set(descendants(os.getpid())) - earlier]
        sockets = listening(processes)
        jobs = f"{joined.dashboard}/api/jobs/"
        assert requests.get(jobs, timeout=60).status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert requests.get(jobs, timeout=60, headers=bearer).status_code == 200
        assert {address for address, _ in sockets} == {"127.0.0.1"}
        [(gcs, folder)] = [
            (argument.partition("=")[2], next(a for a in line if a.startswith("--session_dir=")))
            for line in map(command_line, processes)
            for argument in line
            if argument.startswith("--gcs-address=") and line[0].endswith("/raylet")
        ]
        assert is_token_refused(gcs, "")
        assert is_token_refused(gcs, "wrong")
        assert is_token_refused(gcs, token) is False
        # Other users read command lines, and may read files; the environment they may not.
        assert not any(token in " ".join(command_line(process)) for process in processes)
        closed = Path(folder.partition("=")[2]).parent.parent
        assert closed.stat().st_mode & 0o777 == 0o700
        files = [path for path in closed.rglob("*") if path.is_file()]
        assert len(files) > 10
        assert not [path for path in files if token.encode() in path.read_bytes()]
    assert not list(home.rglob("*"))
    assert os.environ[MODE] == "disabled"
    assert not closed.exists()


SERVE = """
import os, sys
from raysearch.backend.cluster import connect
connect("", dashboard=False, insecure=sys.argv[1] == "open")
print(os.getpid(), flush=True)
sys.stdin.read()
from raysearch.backend.cluster import disconnect
disconnect()
"""


@contextmanager
def served(kind: str) -> Iterator[tuple[str, str]]:
    """A cluster of another process, open or closed: its address and its token."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, kind], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        try:
            [address] = [
                argument.partition("=")[2]
                for child in descendants(process.pid)
                for argument in command_line(child)
                if argument.startswith("--gcs-address=")
                and command_line(child)[0].endswith("/raylet")
            ]
            yield address, secret_of(descendants(process.pid))
        finally:
            process.stdin.close()
            process.wait()


@pytest.mark.slow
def test_a_cluster_is_joined_with_the_token_if_it_asks_for_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / ".ray" / "auth_token"
    with served("closed") as (address, token):
        assert len(token) >= 32
        with pytest.raises(UserError, match=f"asks for a token, and {file} holds none.; put the"):
            token_of(address).__enter__()
        file.parent.mkdir()
        file.write_text("of another cluster")
        with pytest.raises(UserError, match=f"and refuses that of {file}"):
            token_of(address).__enter__()
        file.write_text(f"{token}\n")
        # Of no account: a cluster answers itself whether it asks for a token.
        monkeypatch.setenv(MODE, "disabled")
        with on_loopback(), cluster(address) as joined:
            assert joined.address == address
        file.unlink()
        monkeypatch.setenv(TOKEN, token)
        with on_loopback(), cluster(address) as joined:
            assert len(joined.nodes) == 1


@pytest.mark.slow
def test_a_cluster_without_a_token_is_joined_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("left over from another cluster")
    monkeypatch.setenv(MODE, "token")
    with served("open") as (address, token):
        assert token == ""
        with on_loopback(), cluster(address) as joined:
            assert (os.environ[MODE], TOKEN in os.environ) == ("disabled", False)
            assert joined.address == address
